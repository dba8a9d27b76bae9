# The short way to the two commands of the README; the work is done in examples-c/Makefile and tests/run.

all:
	@$(MAKE) --no-print-directory -C examples-c

run:
	@$(MAKE) --no-print-directory -C examples-c run ARGS='$(ARGS)'

test:
	@tests/run

clean:
	@$(MAKE) --no-print-directory -C examples-c clean

.PHONY: all run test clean
