//! A proxy that makes a bad network of loopback: it delays, splits and resets. On TCP nothing can be lost, doubled or put out of order
//! between two sockets of one kernel; a network namespace with netem would do that below TCP, and kernels without netem cannot.
