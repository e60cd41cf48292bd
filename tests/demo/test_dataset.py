"""The loader of Fashion-MNIST: which set it takes, what it promises about it, and what it refuses."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from qstore_db.demo import dataset
from qstore_db.errors import ConfigurationError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without the Debian package and without QSTORE_DATA."""
    monkeypatch.delenv("QSTORE_DATA", raising=False)
    monkeypatch.setattr(dataset, "DEBIAN", tmp_path / "no-such-folder")


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def write_set(folder: Path, *, train: int = 3, suffix: str = ".gz") -> Path:
    """A tiny set in the published format, whose first pixels number its images."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", 2)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count)
        for name, values in (("images-idx3", images), ("labels-idx1", np.arange(count, dtype=np.uint8))):
            content = idx(values)
            path = folder / f"{part}-{name}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)
    return folder


def test_the_sample_has_600_and_100_images_of_each_class() -> None:
    sample = dataset.sample()
    assert sample.train_images.shape == (6000, 784)
    assert sample.test_images.shape == (1000, 784)
    assert np.bincount(sample.train_labels).tolist() == [600] * 10
    assert np.bincount(sample.test_labels).tolist() == [100] * 10


def test_the_sample_is_of_unsigned_bytes_that_use_the_whole_grey_scale() -> None:
    sample = dataset.sample()
    arrays = (sample.train_images, sample.train_labels, sample.test_images, sample.test_labels)
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}
    assert (sample.train_images.min(), sample.train_images.max()) == (0, 255)


def test_the_sample_mixes_its_classes_from_the_start() -> None:
    assert len(set(dataset.sample().train_labels[:100])) == 10


def test_the_sample_and_its_licence_take_less_than_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in dataset.SAMPLE.iterdir()) <= 5_000_000
    assert "Copyright (c) 2017 Zalando SE" in (dataset.SAMPLE / "LICENSE").read_text(encoding="utf-8")


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        dataset.sample().train_images[0, 0] = 1


def test_there_is_a_name_for_each_of_the_ten_labels() -> None:
    assert len(dataset.CLASSES) == 10
    assert dataset.CLASSES[9] == "Ankle boot"


def test_without_any_folder_the_sample_is_loaded_and_named() -> None:
    loaded = dataset.load()
    assert len(loaded.train_images) == 6000
    assert "bundled sample" in loaded.source


def test_a_given_folder_is_loaded_and_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    loaded = dataset.load(folder)
    assert loaded.train_images[:, 0].tolist() == [0, 1, 2]
    assert loaded.test_labels.tolist() == [0, 1]
    assert str(folder) in loaded.source


def test_files_that_were_unpacked_already_load_too(tmp_path: Path) -> None:
    assert len(dataset.load(write_set(tmp_path / "set", suffix="")).train_images) == 3


def test_the_environment_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTORE_DATA", str(write_set(tmp_path / "set")))
    loaded = dataset.load()
    assert len(loaded.train_images) == 3
    assert "$QSTORE_DATA" in loaded.source


def test_an_empty_environment_variable_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTORE_DATA", "")
    assert "bundled sample" in dataset.load().source


def test_a_given_folder_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTORE_DATA", str(write_set(tmp_path / "environment", train=4)))
    assert len(dataset.load(write_set(tmp_path / "given", train=3)).train_images) == 3


def test_the_folder_of_the_debian_package_comes_before_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "DEBIAN", write_set(tmp_path / "debian"))
    loaded = dataset.load()
    assert len(loaded.train_images) == 3
    assert "Debian" in loaded.source


def test_a_folder_that_does_not_exist_is_refused_and_not_replaced_by_the_sample(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none for the sample"):
        dataset.load(tmp_path / "nowhere")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    missing = folder / "t10k-labels-idx1-ubyte.gz"
    missing.unlink()
    with pytest.raises(ConfigurationError, match=missing.name) as caught:
        dataset.load(folder)
    assert caught.value.subject == str(missing)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"<html>not found</html>", "cannot be read", id="no gzip file"),
        pytest.param(
            gzip.compress(idx(np.zeros((3, 28, 28), np.uint8)))[:-9], "cannot be read", id="cut off"
        ),
        pytest.param(gzip.compress(b""), "does not start like", id="empty"),
        pytest.param(gzip.compress(idx(np.zeros(3, np.uint8))), "with 3 axes", id="labels for images"),
        pytest.param(gzip.compress(idx(np.zeros((3, 28, 28), np.uint8))[:-1]), "2351 values", id="short"),
        pytest.param(gzip.compress(idx(np.zeros((3, 28, 28), np.uint8)) + b"x"), "2353 values", id="long"),
        pytest.param(
            gzip.compress(idx(np.zeros((3, 14, 28), np.uint8))), "14x28, not 28x28", id="other size"
        ),
    ],
)
def test_a_malformed_image_file_is_named_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    folder = write_set(tmp_path / "set")
    broken = folder / f"{TRAIN_IMAGES}.gz"
    broken.write_bytes(content)
    with pytest.raises(ConfigurationError, match=why) as caught:
        dataset.load(folder)
    assert caught.value.subject == str(broken)


@pytest.mark.parametrize(
    ("labels", "why"), [([0, 1], "2 labels for 3 images"), ([0, 1, 10], "a label 10")], ids=["few", "high"]
)
def test_labels_that_do_not_fit_the_images_or_classes_are_refused(
    tmp_path: Path, labels: list[int], why: str
) -> None:
    folder = write_set(tmp_path / "set")
    broken = folder / f"{TRAIN_LABELS}.gz"
    broken.write_bytes(gzip.compress(idx(np.array(labels, np.uint8))))
    with pytest.raises(ConfigurationError, match=why) as caught:
        dataset.load(folder)
    assert caught.value.subject == str(broken)


def test_a_copy_of_the_bundled_folder_loads_as_a_full_set_would(tmp_path: Path) -> None:
    copy = shutil.copytree(dataset.SAMPLE, tmp_path / "copy")
    assert np.array_equal(dataset.load(copy).test_images, dataset.sample().test_images)
