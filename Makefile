# Everything there is to run; `make help` lists it.

# rustup installs here, and a shell that was open before does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help run client test check doc demo experiments experiment exercise bench bench-peers bench-stall soak model mutation-test fuzz coverage screenshot cargo

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: cargo ## serve on 127.0.0.1:1313 (the first build takes about a minute); options in ARGS, as in make run ARGS='--help'
	cargo run --release --locked --no-default-features --bin chat-server -- $(ARGS)

client: cargo ## talk to it (the same); options in ARGS, as in make client ARGS='-n alice'
	cargo run --release --locked --bin chat-client -- $(ARGS)

test: cargo ## run the tests, with direct writes and without (a minute and a half after the build)
	cargo test --locked
	WRITER_THREADS_ONLY=1 cargo test --locked --test it

check: cargo ## format, lints, docs, a build without default features, model, tests: what CI runs (four minutes)
	scripts/check

doc: cargo ## write the crate's documentation, the course too, to target/doc/chat/index.html (half a minute)
	cargo doc --locked --no-deps --document-private-items

demo: cargo ## watch three scripted users chat (about ten seconds)
	@scripts/demo

experiments: cargo ## see what each chapter of the course says, all of them (two minutes)
	cargo bench --quiet --locked --bench course

# The name of the chapter that CHAPTER names or counts; else a list of all.
CHAPTER_NAME = $$(sed -n 's/^..! | \([0-9]*\) | .`\([a-z_]*\)`.*/\1 \2/p' src/course/mod.rs | \
	awk -v wanted='$(CHAPTER)' '{ all = all "\n  " $$0 } $$1 == wanted || $$2 == wanted { print $$2; found = 1 } \
	END { if (!found) { print "CHAPTER=" wanted ": expected a chapter, by its number or name:" all > "/dev/stderr"; exit 1 } }')

experiment: cargo ## one of them, as in make experiment CHAPTER=lines or CHAPTER=1 (seconds, after about two minutes of building)
	@chapter=$(CHAPTER_NAME) && \
	echo "building what is not built yet (about two minutes the first time), then running $$chapter" >&2 && \
	cargo bench --quiet --locked --bench course -- $$chapter

exercise: cargo ## try your solution of an exercise, as in make exercise CHAPTER=lines or CHAPTER=1 (seconds, after a minute of building)
	@chapter=$(CHAPTER_NAME) && \
	echo "building what is not built yet (a minute the first time), then testing $$chapter" >&2 && \
	cargo test --quiet --locked --test exercises -- --ignored $$chapter

bench-stall: cargo ## what one stalled reader among a hundred costs the others (a minute)
	cargo bench --locked --bench stall

MINUTES ?= 2
soak: cargo ## 300 bad clients for MINUTES=2: is anything left? Then seeds against the model for as long
	cargo bench --locked --bench soak -- $(MINUTES)

# A folder of its own, because the flags are others.
model: cargo ## the outbox in 360,000 orders of what its threads do, under the model checker (a minute)
	RUSTFLAGS='--cfg model' cargo test --quiet --locked --no-default-features --lib --target-dir target/model model

mutation-test: cargo ## and that the model finds the faults that one puts into it (about ten minutes)
	scripts/mutation-test

SECONDS ?= 60
TARGETS ?= line request reply connection
fuzz: cargo ## look for bytes that the parsers or a connection get wrong (four minutes; needs cargo-fuzz); SECONDS=60
	@scripts/fuzz $(SECONDS) $(TARGETS)

coverage: cargo ## which lines the tests reach: a table, and target/llvm-cov/html (two minutes; needs cargo-llvm-cov)
	@scripts/coverage

screenshot: cargo ## draw scripts/screenshot.svg anew, from a real session (a minute; needs tmux, Python with rich)
	scripts/screenshot

bench: cargo ## measure the server under load (three minutes); options in ARGS, as in make bench ARGS=--help
	cargo bench --quiet --locked --bench load -- $(ARGS)

bench-peers: cargo ## compare it with InspIRCd, ngIRCd and the floor of the shape (40 minutes; Debian); ROUNDS=3
	scripts/bench-peers $(ROUNDS)

cargo:
	@command -v cargo >/dev/null || { echo 'Rust is missing: install it from https://rustup.rs, then try again' >&2; exit 1; }
