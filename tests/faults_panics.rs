//! A panic at every step of the library, row H22 of the fault matrix: what it costs, and what it does not. Built with the feature `fail-points`.
