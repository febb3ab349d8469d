# Dormouse: `make run` serves, `make test` tests, `make help` lists the rest. Targets install what they need, or report
# what is missing.

LISTEN ?= 127.0.0.1:8787
DATA ?= ./dormouse-data
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))

# Versions that build the host and the rooms, and the client and the room in JavaScript.
RUST_VERSION = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
NODE_VERSION = 20.19

# Succeeds if the first version in its input is at least this one.
at_least = awk -v needed=$(1) '{ match($$0, /[0-9.]+/); split(substr($$0, RSTART, RLENGTH), has, "."); split(needed, least, "."); \
	exit !(has[1] + 0 > least[1] + 0 || (has[1] + 0 == least[1] + 0 && has[2] + 0 >= least[2] + 0)) }'

# For `make serve-wasm`: the address, the directory of the data, and the wasmtime to use.
SERVE_LISTEN ?= 127.0.0.1:8080
SERVE_DATA ?= ./dormouse-serve-data
WASMTIME ?= wasmtime
WASMTIME_VERSION = 48.0.8

# For the JavaScript engine: a compiler of C for WebAssembly, its archiver, and the headers of the C library of WASI.
WASM_CLANG ?= $(firstword $(foreach name,clang-19 clang-20 clang-21 clang-18 clang,$(shell command -v $(name))))
WASM_AR ?= $(firstword $(foreach name,$(subst clang,llvm-ar,$(notdir $(WASM_CLANG))) llvm-ar,$(shell command -v $(name))))
WASI_HEADERS ?= /usr/include/wasm32-wasi
ENGINE = target/javascript/dormouse-engine.wasm
# Cargo does not see that it changes; the macro with its checksum makes it compile QuickJS again.
ENGINE_STACK = components/javascript/engine/quickjs_stack.h
ENGINE_WITH_SQL = target/javascript/dormouse-engine-sql.wasm

# SQLite in a component: it has no files but the pages that components/sql shows it. docs/sql.md repeats the first line.
SQLITE_FLAGS = SQLITE_OS_OTHER=1 SQLITE_TEMP_STORE=3 SQLITE_ENABLE_STMT_SCANSTATUS SQLITE_ENABLE_MATH_FUNCTIONS \
	SQLITE_DEFAULT_MEMSTATUS=0 SQLITE_MAX_MMAP_SIZE=0 SQLITE_MAX_ALLOCATION_SIZE=33554432 SQLITE_PRINTF_PRECISION_LIMIT=100000 \
	SQLITE_OMIT_WAL SQLITE_OMIT_SHARED_CACHE SQLITE_OMIT_DESERIALIZE SQLITE_OMIT_LOAD_EXTENSION SQLITE_UNTESTABLE \
	$(foreach flag,LOAD_EXTENSION FTS3 FTS3_PARENTHESIS DBSTAT_VTAB API_ARMOR COLUMN_METADATA,-USQLITE_ENABLE_$(flag)) -USQLITE_USE_URI

# For `make fuzz`: the time of each fuzzer, and the seed of its inputs.
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= $(shell date +%s)

# For `make durability`. With CLUSTER=1, nodes of a cluster fail, and their network and their database.
DURABILITY_TESTS = confirmed_messages changed_byte torn_commit
CLUSTER_TESTS = random_faults
ROUNDS ?= 100

# For `make postgres`.
COMMITS ?= 1000000

# For `make model`.
SEEDS ?= 1000000

# For `make soak`.
MINUTES ?= 60

# The counted host uses the dependencies of the tests, because building all of them again takes ten minutes. It is one
# codegen unit and not incremental: the split into units decides what is inlined, and so changes the count.
COUNTED = --profile dev --config profile.dev.incremental=false \
	$(foreach setting,opt-level=3 codegen-units=1 debug=false debug-assertions=false overflow-checks=false,--config profile.dev.package.dormouse.$(setting))

# Macros of dependencies write the paths of their sources into the code. So a release is always built at the same path,
# in mounts that only this build sees, and without artifacts of other builds.
RELEASED = target/reproducible/release/dormouse
AT_ONE_PLACE = unshare --user --map-root-user --mount sh -ec 'mount -t tmpfs tmpfs /srv; mkdir /srv/dormouse /srv/cargo; \
	mount --bind "$(CURDIR)" /srv/dormouse; mount --bind "$(or $(CARGO_HOME),$(HOME)/.cargo)" /srv/cargo; cd /srv/dormouse; \
	export CARGO_HOME=/srv/cargo CARGO_TARGET_DIR=/srv/dormouse/target/reproducible; exec "$$@"' sh

.PHONY: run cluster release reproducible serve-wasm serve-component test fresh durability model postgres failover balancers lint fuzz audit bench instructions postgres-bench cluster-bench soak compare curves compare-setup setup node client-setup packages-setup packages-engine javascript javascript-engine sql-example engine-setup conformance-setup clean help

##@ Run it

run: setup ## Build the release and serve the demo page on http://127.0.0.1:8787
	cargo build --release --package dormouse
	./target/release/dormouse serve --listen $(LISTEN) --data $(DATA)

cluster: setup ## Start three servers, a primary and a standby of PostgreSQL on this machine, to try them; Ctrl-C stops all
	cargo build --release --package dormouse
	tests/cluster/try.sh target/release/dormouse

##@ Release it

release: setup ## Build target/reproducible/release/dormouse: the same commit and compilers give the same bytes
	@mkdir -p $(or $(CARGO_HOME),$(HOME)/.cargo)
	@$(AT_ONE_PLACE) true || { echo "A release is built in a mount namespace of its own, on Linux: allow user namespaces, or be root" >&2; exit 1; }
	$(AT_ONE_PLACE) cargo build --release --locked --package dormouse
	@sha256sum $(RELEASED)

reproducible: ## Build the release twice, in two places with separate caches, and compare them; takes 15 minutes
	@set -e; places=$$(mktemp -d); trap 'rm -rf "$$places"' EXIT; \
	for place in one another/place; do \
		git clone --quiet . "$$places/$$place/checkout"; \
		CARGO_HOME="$$places/$$place/cargo" $(MAKE) --no-print-directory -C "$$places/$$place/checkout" release; \
	done; \
	cmp "$$places/one/checkout/$(RELEASED)" "$$places/another/place/checkout/$(RELEASED)"

##@ Run it without the host

serve-wasm: serve-component ## Run the shipped rooms under stock `wasmtime serve`, on http://127.0.0.1:8080 (components/serve)
	@command -v $(WASMTIME) >/dev/null || { echo "wasmtime is missing: run \`cargo install --locked wasmtime-cli --version $(WASMTIME_VERSION)\`, or say where it is with WASMTIME=" >&2; exit 1; }
	@mkdir -p $(SERVE_DATA)
	$(WASMTIME) serve -S cli -O pooling-allocator=n --addr $(SERVE_LISTEN) --dir $(SERVE_DATA)::/data target/dormouse-serve.wasm

serve-component: setup ## Build only the component for that: target/dormouse-serve.wasm
	cargo run --package dormouse-serve -- target/dormouse-serve.wasm

##@ Test it

test: setup client-setup packages-setup javascript javascript-engine sql-example conformance-setup ## Run every test: those in Rust, then those of the packages and the browser client, with the binary built before
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || test -x "$$(pg_config --bindir 2>/dev/null)/postgres" || { echo "The store is tested on servers of PostgreSQL that the tests start: install it (apt-get install postgresql), or put its pg_config on the PATH; its service is not needed" >&2; exit 1; }
	@test -n "$(CHROMIUM)" || { echo "The client is tested in Chromium: install it (apt-get install chromium), or say where it is with CHROMIUM=" >&2; exit 1; }
	@failed=; \
	echo "cargo test --workspace --exclude unruly --no-fail-fast"; \
	cargo test --workspace --exclude unruly --no-fail-fast || failed="Rust"; \
	echo "cd client && npm test"; \
	(cd client && CHROMIUM=$(CHROMIUM) npm test) || failed="$${failed:+$$failed, }the client"; \
	echo "cd components/javascript && npm test"; \
	(cd components/javascript && npm test) || failed="$${failed:+$$failed, }the packages"; \
	test -z "$$failed" || { echo "make test failed: $$failed" >&2; exit 1; }

packages-engine: packages-setup javascript-engine ## Run the tests of the packages again, in the engine of rooms in JavaScript, with the binary built before
	cd components/javascript && npm run build && DORMOUSE_BIN=$(CURDIR)/target/debug/dormouse node test.mjs --engine durable-objects/ room/tests examples/

fresh: ## Run both commands of the README in a fresh clone of this commit, with empty caches
	MAKE="$(MAKE)" tests/fresh.sh

durability: setup ## Crash servers and disks in ROUNDS=100 rounds, and check the messages that clients saw; SEED=1 repeats a run, CLUSTER=1 crashes clusters
	DORMOUSE_TEST_ROUNDS=$(ROUNDS) $(if $(SEED),DORMOUSE_TEST_SEED=$(SEED)) \
		cargo test --workspace --exclude unruly --test $(if $(CLUSTER),cluster,e2e) -- --nocapture $(or $(ARGS),$(if $(CLUSTER),$(CLUSTER_TESTS),$(DURABILITY_TESTS)))

model: setup ## Simulate rooms on several machines with SEEDS=1000000 random seeds; SEED=1 names the first
	DORMOUSE_TEST_SEED=$(or $(SEED),$(shell date +%s%N)) DORMOUSE_TEST_ROUNDS=$(SEEDS) \
		cargo test --package dormouse-ownership --test ownership -- --nocapture no_fault

postgres: setup ## Test the SQL with COMMITS=1000000 commits on servers of PostgreSQL that the tests start
	DORMOUSE_TEST_COMMITS=$(COMMITS) cargo test --workspace --exclude unruly --test store -- --nocapture $(ARGS)

failover: setup ## Test docs/patroni.yml by hand: kill a primary and its machine under load. Needs root, patroni and etcd
	cargo build --release --package dormouse
	tests/patroni/failover.sh target/release/dormouse

balancers: setup ## Test docs/nginx.conf and docs/haproxy.cfg in front of a cluster. Needs nginx, haproxy, curl and PostgreSQL
	cargo build --release --package dormouse
	tests/balancers/check.sh target/release/dormouse

lint: setup client-setup packages-setup ## Check format, lints and types; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cd client && npm run lint
	cd components/javascript && npm run lint

fuzz: setup ## Run each fuzzer for FUZZ_SECONDS=60 with new inputs; a failure prints how to repeat it
	FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$(FUZZ_SEED) cargo test --workspace --exclude unruly --lib --test component --test e2e -- fuzz:: --test-threads 2 --show-output

audit: client-setup ## Check licences, sources and advisories of all dependencies; reports what it could not check. Needs cargo-deny
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: run \`cargo install --locked cargo-deny\`, then try again" >&2; exit 1; }
	cargo deny --config .cargo-deny.toml check licenses bans sources
	@cargo deny --config .cargo-deny.toml fetch db || echo "The advisories cannot be fetched: what follows is what was known when they last were" >&2
	@ls -d "$${CARGO_HOME:-$$HOME/.cargo}"/advisory-dbs/advisory-db-* >/dev/null 2>&1 || { echo "Crates were NOT checked for known faults: no advisories were ever fetched" >&2; exit 1; }
	cargo deny --config .cargo-deny.toml --offline check advisories
	@cd client && npm audit --omit=dev || { npm audit --omit=dev --json 2>/dev/null | grep -q '"vulnerabilities"' || echo "The packages of client/ were NOT checked: the registry gave no answer" >&2; exit 1; }

##@ Measure it

bench: setup ## Measure the time of a turn, a wake, a route and a commit
	cargo bench --package dormouse --bench pieces

instructions: setup ## Count the instructions of the hot path; fails if they differ from the known figures. Needs valgrind
	cargo bench $(COUNTED) --workspace --exclude unruly --bench instructions

postgres-bench: setup ## Measure rooms in PostgreSQL beside the embedded store, with an optimised host; takes five minutes
	cargo test $(COUNTED) --workspace --exclude unruly --test postgres -- --ignored --nocapture figures

cluster-bench: setup ## Measure what a message costs with one, two and three nodes, with an optimised host; takes five minutes
	cargo test $(COUNTED) --workspace --exclude unruly --test cluster -- --ignored --nocapture figures

soak: setup ## Run chats and reconnects for MINUTES=60, and check that memory and descriptors do not grow
	cargo build --release --package dormouse
	tests/compare/soak.sh target/release/dormouse $(MINUTES)

compare: compare-setup ## Compare with native Rust, Node and workerd; takes 40 minutes, less with ARGS="--quick". Needs Node 20.19
	cd tests/compare && npm run compare -- $(ARGS)

curves: compare-setup ## Measure how cost grows with load; takes an hour
	cd tests/compare && npm run curves -- $(ARGS)

compare-setup: setup node ## Build the programs for `make compare`
	cargo build --release --package dormouse --package dormouse-compare-native
	cd tests/compare && npm ci --no-audit --no-fund

##@ Prepare it

setup: ## Check Rust, its wasm target and the linker; add the target if it is missing
	@command -v cargo >/dev/null || { echo "Dormouse is built with Rust: install it from rustup.rs, then try again" >&2; exit 1; }
	@command -v rustc >/dev/null || { echo "cargo is there, but its compiler rustc is not: install Rust from rustup.rs, or put the folder of rustc on the PATH, then try again" >&2; exit 1; }
	@cargo --version >/dev/null && rustc --version >/dev/null || { echo "Rust does not run: see above. The version that rust-toolchain.toml names is needed; \`rustup toolchain install\` in this folder installs it" >&2; exit 1; }
	@rustc --version | $(call at_least,$(RUST_VERSION)) || \
		{ echo "Rust $(RUST_VERSION) or newer is needed, and $$(command -v rustc) is $$(rustc --version): install it from rustup.rs, then try again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "A linker is missing: install gcc or clang, then try again" >&2; exit 1; }
	@folder=$$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null) && test -n "$$folder" && test -d "$$folder" || rustup target add wasm32-wasip2 || { echo "The target wasm32-wasip2 is missing, and rustup could not add it: install Rust from rustup.rs, or your system's package of that target" >&2; exit 1; }

node: ## Check Node.js: 20.19 or newer
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "The client is built and tested with Node.js and its npm: install Node.js $(NODE_VERSION) or newer, then try again" >&2; exit 1; }
	@node --version | $(call at_least,$(NODE_VERSION)) || \
		{ echo "Node.js $(NODE_VERSION) or newer is needed, and $$(command -v node) is $$(node --version): install a newer one, then try again" >&2; exit 1; }

client-setup: node client/node_modules/.package-lock.json ## Install the npm packages of the client

client/node_modules/.package-lock.json: client/package.json client/example/package.json client/package-lock.json
	cd client && npm ci --no-audit --no-fund
	@touch $@

packages-setup: node components/javascript/node_modules/.package-lock.json ## Install the npm packages of the rooms in TypeScript

components/javascript/node_modules/.package-lock.json: $(wildcard components/javascript/package.json components/javascript/*/package.json) components/javascript/package-lock.json
	cd components/javascript && npm ci --no-audit --no-fund
	@touch $@

# An installed suite is used again, without a network.
conformance-setup: ## Install the WebSocket test suite in target/conformance
	@cmp -s tests/conformance/requirements.txt target/conformance/requirements.txt && target/conformance/bin/kosoku --help >/dev/null 2>&1 || $(MAKE) --no-print-directory target/conformance

.PHONY: target/conformance
target/conformance:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "WebSockets are checked by a suite in Python: install Python 3.10 or newer, then try again" >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing: install it (apt-get install python3-venv), then try again" >&2; exit 1; }
	rm -rf $@
	python3 -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --requirement tests/conformance/requirements.txt
	@cp tests/conformance/requirements.txt $@/

engine-setup: ## Check clang, its archiver and the headers of wasi-libc, for the JavaScript engine
	@test -n "$(WASM_CLANG)" && echo 'int one;' | $(WASM_CLANG) --target=wasm32-wasip2 -c -x c -o /dev/null - 2>/dev/null || { echo "The JavaScript engine is written in C, and no clang that compiles to WebAssembly was found: apt-get install clang-19, or say where it is with WASM_CLANG=" >&2; exit 1; }
	@test -n "$(WASM_AR)" || { echo "The archiver of $(WASM_CLANG) is missing: apt-get install llvm-19, or say where llvm-ar is with WASM_AR=" >&2; exit 1; }
	@test -e $(WASI_HEADERS)/stdio.h || { echo "The headers of the C library of WASI are missing in $(WASI_HEADERS): apt-get install wasi-libc, or say where they are with WASI_HEADERS=" >&2; exit 1; }

# The paths of sources in panic messages are replaced, so that a commit and a clang give the same bytes on every machine.
WITH_C = CC_wasm32_wasip2=$(WASM_CLANG) AR_wasm32_wasip2=$(WASM_AR) RQUICKJS_SYS_NO_WASI_SDK=1 LIBSQLITE3_FLAGS="$(SQLITE_FLAGS)" \
	CFLAGS_wasm32_wasip2="-isystem $(WASI_HEADERS) -include $(CURDIR)/$(ENGINE_STACK) -DHEADER_$(firstword $(shell cksum < $(ENGINE_STACK)))" \
	RUSTFLAGS="--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=crates"
BUILD_ENGINE = $(WITH_C) cargo rustc --profile guest --target wasm32-wasip2 --target-dir target/javascript \
	--package dormouse-javascript-engine --crate-type cdylib
SKIP_COMPONENT = -- -C link-arg=--skip-wit-component -C strip=symbols

javascript-engine: setup engine-setup ## Build the engine of rooms in JavaScript, with and without SQL, for `dormouse build`. Needs clang and wasi-libc
	$(BUILD_ENGINE) $(SKIP_COMPONENT)
	@cp target/javascript/wasm32-wasip2/guest/dormouse_javascript_engine.wasm $(ENGINE)
	$(BUILD_ENGINE) --features sql $(SKIP_COMPONENT)
	@cp target/javascript/wasm32-wasip2/guest/dormouse_javascript_engine.wasm $(ENGINE_WITH_SQL)

sql-example: setup engine-setup ## Build the example room with SQL: target/javascript/scores.wasm. Needs clang and wasi-libc
	$(WITH_C) cargo build --profile guest --target wasm32-wasip2 --target-dir target/javascript --package scores
	@cp target/javascript/wasm32-wasip2/guest/scores.wasm target/javascript/scores.wasm

javascript: node components/examples/javascript/dist/auction.wasm ## Build the example room in JavaScript

components/examples/javascript/dist/auction.wasm: $(wildcard components/examples/javascript/*.js components/examples/javascript/package*.json wit/*.wit)
	cd components/examples/javascript && npm ci --no-audit --no-fund && npm run build

clean: ## Remove all build output
	cargo clean

help: ## List all targets
	@awk -F ':.*## ' '/^##@ /{ printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## /{ printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
