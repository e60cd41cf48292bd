"""The demonstration on Fashion-MNIST, and the data set it runs on."""
