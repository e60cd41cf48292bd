/* Injects I/O faults below one directory; preloaded into a process under test (LD_PRELOAD).
 *
 * QSTORE_FAULT_PATH     real path of the directory; files elsewhere are never touched
 * QSTORE_FAULT_CONTROL  file of at least sizeof(struct control), mapped once and read on every call
 *
 * Calls inside the C library are not seen: of buffered streams fwrite is covered, what fflush or
 * fclose write later is not. A write that meets a full disk touches nothing; a failing O_DSYNC write
 * reaches the page cache first, as in a kernel that learns of the fault while it flushes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The words of control.py, in its order. `pass`: calls to let through before the first fault. */
struct fault { uint32_t armed, pass, seen, failed; };
static struct { struct fault write, sync; uint32_t short_write, dsync_writes; } *control;
static const char *root;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("QSTORE_FAULT_CONTROL");
    root = getenv("QSTORE_FAULT_PATH");
    if (!path || !root)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || control == MAP_FAILED) {
        perror(path);
        _exit(127); /* a test without its faults would pass for the wrong reason */
    }
    close(fd);
}

static int below_root(const char *path)
{
    size_t n = strlen(root);
    return !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

static int watched(int fd)
{
    char link[64], path[PATH_MAX + 1];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = control ? readlink(link, path, PATH_MAX) : -1;
    path[n < 0 ? 0 : n] = 0;
    errno = saved;
    return n > 0 && below_root(path);
}

static int watched_mapping(void *address)
{
    char line[PATH_MAX + 128];
    unsigned long start, end, wanted = (unsigned long)address;
    int found = 0, saved = errno;
    FILE *maps = control ? fopen("/proc/self/maps", "re") : NULL;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        int name = 0;
        line[strcspn(line, "\n")] = 0;
        sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &name);
        found = start <= wanted && wanted < end && name && below_root(line + name);
    }
    if (maps)
        fclose(maps);
    errno = saved;
    return found;
}

static int due(struct fault *fault)
{
    __atomic_add_fetch(&fault->seen, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&fault->armed, __ATOMIC_SEQ_CST))
        return 0;
    for (uint32_t left = __atomic_load_n(&fault->pass, __ATOMIC_SEQ_CST); left;)
        if (__atomic_compare_exchange_n(&fault->pass, &left, left - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return 0;
    return __atomic_add_fetch(&fault->failed, 1, __ATOMIC_SEQ_CST) != 0;
}

static int disk_full(int fd)
{
    return watched(fd) && due(&control->write);
}

/* The result of a write that the kernel took: an error if the file is O_DSYNC and its flush fails. */
static ssize_t flushed(int fd, ssize_t written)
{
    if (written < 0 || !control || !control->dsync_writes || !(fcntl(fd, F_GETFL) & O_DSYNC))
        return written;
    return watched(fd) && due(&control->sync) ? (errno = EIO, -1) : written;
}

/* Each wrapper calls the library's own function as `next`; `half` are the arguments of the partial write
 * that replaces one ENOSPC each time short_write is set. */
#define NEXT(name) static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define WRITE(name, parameters, arguments, length, half) \
    ssize_t name parameters { NEXT(name); \
        if (!disk_full(fd)) return flushed(fd, next arguments); \
        int some = length > 1 && __atomic_exchange_n(&control->short_write, 0, __ATOMIC_SEQ_CST); \
        return some ? next half : (errno = ENOSPC, -1); }
#define TRUNCATE(name, off) \
    int name(int fd, off n) { NEXT(name); struct stat old; \
        return !fstat(fd, &old) && n > old.st_size && disk_full(fd) ? (errno = ENOSPC, -1) : next(fd, n); }
#define POSIX_FALLOCATE(name, off) \
    int name(int fd, off at, off n) { NEXT(name); return disk_full(fd) ? ENOSPC : next(fd, at, n); }
#define SYNC(name) \
    int name(int fd) { NEXT(name); return watched(fd) && due(&control->sync) ? (errno = EIO, -1) : next(fd); }
#define FIRST (n > 0 ? v->iov_len : 0)
#define HALF &(struct iovec){v->iov_base, v->iov_len / 2}, 1
#define WITH_OFFSET(pwrite, pwritev, pwritev2, ftruncate, posix_fallocate, off) \
    WRITE(pwrite, (int fd, const void *b, size_t n, off at), (fd, b, n, at), n, (fd, b, n / 2, at)) \
    WRITE(pwritev, (int fd, const struct iovec *v, int n, off at), (fd, v, n, at), FIRST, (fd, HALF, at)) \
    WRITE(pwritev2, (int fd, const struct iovec *v, int n, off at, int flags), (fd, v, n, at, flags), \
          FIRST, (fd, HALF, at, flags)) \
    TRUNCATE(ftruncate, off) POSIX_FALLOCATE(posix_fallocate, off)

WRITE(write, (int fd, const void *b, size_t n), (fd, b, n), n, (fd, b, n / 2))
WRITE(writev, (int fd, const struct iovec *v, int n), (fd, v, n), FIRST, (fd, HALF))
WITH_OFFSET(pwrite, pwritev, pwritev2, ftruncate, posix_fallocate, off_t)
#ifdef __GLIBC__
WITH_OFFSET(pwrite64, pwritev64, pwritev64v2, ftruncate64, posix_fallocate64, off64_t)
#endif
SYNC(fsync)
SYNC(fdatasync)

int msync(void *address, size_t length, int flags)
{
    NEXT(msync);
    return watched_mapping(address) && due(&control->sync) ? (errno = EIO, -1) : next(address, length, flags);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *stream)
{
    NEXT(fwrite);
    return disk_full(fileno(stream)) ? (errno = ENOSPC, 0) : next(data, size, n, stream);
}
