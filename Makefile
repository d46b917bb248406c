# What this project's people type. `make help` lists it.
.PHONY: help demo test bench lint fmt deb
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

demo: ## build, then play a whole case on this machine; ARGS="--once --dir D" passes arguments on
	$(CARGO) build --release --locked -p server -p agent -p cli
	$(TARGET)/release/holdfast demo $(ARGS)

test: ## set up what the tests need, lint, run every test, and try the Debian packages
	deploy/ci/test

bench: ## measure capture, holding and the ledger beside their peers; ARGS="..." passes arguments on
	$(CARGO) build --release --locked -p server -p agent -p cli
	deploy/bench/run $(ARGS)

lint: ## formatting and lints, as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format every source file
	$(CARGO) fmt --all

deb: ## build the Debian packages into target/deb
	$(CARGO) build --release --locked -p server -p agent -p cli
	deploy/deb/build
