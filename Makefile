# Dormouse: `make run` serves, `make test` tests. Both install what they need, or say what is missing.

LISTEN ?= 127.0.0.1:8787
DATA ?= ./dormouse-data

.PHONY: run test lint bench setup clean

run: setup ## Build in release and serve the page on http://127.0.0.1:8787
	cargo build --release --package dormouse
	./target/release/dormouse serve --listen $(LISTEN) --data $(DATA)

test: setup ## Every test
	cargo test --workspace --exclude unruly

lint: setup ## Format and lints, warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

bench: setup ## A turn, a wake, a commit
	cargo bench --package dormouse --bench pieces

setup:
	@command -v cargo >/dev/null || { echo "Dormouse is built with Rust: install it from rustup.rs, then try again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "A linker is missing: install gcc or clang, then try again" >&2; exit 1; }
	@rustc --print target-libdir --target wasm32-wasip2 2>/dev/null | xargs -I{} test -d {} || rustup target add wasm32-wasip2 || { echo "The target wasm32-wasip2 is missing and rustup could not add it" >&2; exit 1; }

clean:
	cargo clean
