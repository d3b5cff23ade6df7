# The commands of this project. `make help` lists them.

# rustup installs cargo here. A shell that was opened before does not have it in its PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help run client build install uninstall test test-servers check doc demo demo-servers experiments experiment exercise bench bench-servers bench-peers bench-stall soak model mutation-test fuzz coverage screenshot cargo

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

# REDIS=URL makes the server one of several that are one chat. The server gets the URL in its
# environment, because a URL may have a password, and ps shows arguments. ps shows the arguments
# of make, too: with a password, it is CHAT_REDIS=URL make run REDIS=1.
ifdef REDIS
ifneq ($(REDIS),1)
export CHAT_REDIS = $(REDIS)
endif
FEATURES = --features $(if $(filter rediss:%,$(CHAT_REDIS)),redis-tls,redis)
endif

run: cargo ## start the server on 127.0.0.1:1313 (the first build takes about a minute); options: make run ARGS='--help'; REDIS=URL for several servers
	$(if $(filter 1,$(REDIS)),$(if $(CHAT_REDIS),,$(error REDIS=1: expected a URL in CHAT_REDIS)))cargo run --release --locked --no-default-features $(FEATURES) --bin chat-server -- $(ARGS)

client: cargo ## start the client (the first build takes about a minute); options: make client ARGS='-n alice'
	cargo run --release --locked --bin chat-client -- $(ARGS)

build: cargo ## build both programs in target/release, as make install needs them (two minutes); REDIS=1 for several servers
	cargo build --release --locked $(FEATURES) --bins --target-dir target
	@touch target/release/chat-server target/release/chat-client

# If a source is newer, it is built first. Otherwise `sudo make install` needs no cargo, which
# root often lacks.
SOURCES = Cargo.toml Cargo.lock $(wildcard src/*.rs src/*/*.rs src/*/*/*.rs src/*/*/*/*.rs)
target/release/chat-server target/release/chat-client: $(SOURCES)
	@$(MAKE) --no-print-directory build

PREFIX ?= /usr/local
INSTALL_DIR = $(DESTDIR)$(PREFIX)
# The folder of the programs that are installed.
BIN ?= target/release

install: $(BIN)/chat-server $(BIN)/chat-client ## install both programs, their man pages and a systemd unit; PREFIX=/usr/local DESTDIR=
	install -d $(INSTALL_DIR)/bin $(INSTALL_DIR)/share/man/man1 $(INSTALL_DIR)/lib/systemd/system
	install -m 755 $^ $(INSTALL_DIR)/bin
	scripts/man-page $(BIN)/chat-server >$(INSTALL_DIR)/share/man/man1/chat-server.1
	scripts/man-page $(BIN)/chat-client >$(INSTALL_DIR)/share/man/man1/chat-client.1
	sed 's|@PREFIX@|$(PREFIX)|' scripts/chat-server.service >$(INSTALL_DIR)/lib/systemd/system/chat-server.service
	chmod 644 $(INSTALL_DIR)/share/man/man1/chat-*.1 $(INSTALL_DIR)/lib/systemd/system/chat-server.service

uninstall: ## remove these files again, with the same PREFIX and DESTDIR
	rm -f $(INSTALL_DIR)/bin/chat-server $(INSTALL_DIR)/share/man/man1/chat-server.1
	rm -f $(INSTALL_DIR)/bin/chat-client $(INSTALL_DIR)/share/man/man1/chat-client.1
	rm -f $(INSTALL_DIR)/lib/systemd/system/chat-server.service

test: cargo ## run all tests, with direct writes and without (90 s after the build)
	cargo test --locked
	WRITER_THREADS_ONLY=1 cargo test --locked --test it

# The files whose tests are about messages between sessions. The other tests are about one
# server or about the client, so several servers would add nothing. cargo test runs each test
# whose path contains one of these words.
SPREAD_TESTS = bad_input:: closing:: commands:: delivery:: framing:: history:: login:: \
	model_check:: presence:: resuming:: servers:: shutdown:: tokens::

test-servers: cargo ## run the tests again over three servers that are one chat, and those of their failures (75 s after the build; needs redis-server)
	cargo test --locked --features redis --lib -- cluster::
	SERVERS=3 cargo test --locked --features redis --test it -- --test-threads=6 $(SPREAD_TESTS)

check: cargo ## run all checks of CI: format, lints, docs, a build without default features, model, tests (six minutes)
	scripts/check

doc: cargo ## build the documentation, with the course, in target/doc/chat/index.html (half a minute)
	cargo doc --locked --no-deps --document-private-items --features redis

demo: cargo ## show a scripted chat of three users (about ten seconds)
	@scripts/demo

demo-servers: cargo ## show three users at two servers that are one chat, and how one server is killed (a minute; needs redis-server)
	@scripts/demo-servers

experiments: cargo ## run the experiments of all chapters of the course (two minutes)
	cargo bench --quiet --locked --bench course

# Prints the name of the chapter in CHAPTER, a name or a number. For any other value, lists all
# chapters and fails.
CHAPTER_NAME = $$(sed -n 's/^..! | \([0-9]*\) | .`\([a-z_]*\)`.*/\1 \2/p' src/course/mod.rs | \
	awk -v wanted='$(CHAPTER)' '{ all = all "\n  " $$0 } $$1 == wanted || $$2 == wanted { print $$2; found = 1 } \
	END { if (!found) { print "CHAPTER=" wanted ": expected a chapter, by its number or name:" all > "/dev/stderr"; exit 1 } }')

experiment: cargo ## run one experiment: make experiment CHAPTER=lines or CHAPTER=1 (seconds, after a build of two minutes)
	@chapter=$(CHAPTER_NAME) && \
	echo "building what is not built yet (about two minutes the first time), then running $$chapter" >&2 && \
	cargo bench --quiet --locked --bench course -- $$chapter

exercise: cargo ## test your solution of an exercise: make exercise CHAPTER=lines or CHAPTER=1 (seconds, after a build of a minute)
	@chapter=$(CHAPTER_NAME) && \
	echo "building what is not built yet (a minute the first time), then testing $$chapter" >&2 && \
	cargo test --quiet --locked --test exercises -- --ignored $$chapter

bench-stall: cargo ## measure how a stalled reader delays 99 others (a minute)
	cargo bench --locked --bench stall

MINUTES ?= 2
soak: cargo ## run 300 faulty clients and check for leaks, then compare the server with the model; MINUTES=2 for each
	cargo bench --locked --bench soak -- $(MINUTES)

# The flags differ, so this build has a target directory of its own.
model: cargo ## run the model checker: the outbox in 480,000 thread orders (a minute)
	RUSTFLAGS='--cfg model' cargo test --quiet --locked --no-default-features --lib --target-dir target/model model

mutation-test: cargo ## put faults into the outbox, and check that the model finds each one (about ten minutes)
	scripts/mutation-test

SECONDS ?= 60
TARGETS ?= line request reply connection
fuzz: cargo ## fuzz the parsers and a connection, SECONDS=60 for each target (four minutes; needs cargo-fuzz)
	@scripts/fuzz $(SECONDS) $(TARGETS)

coverage: cargo ## measure which lines the tests run: a table, and target/llvm-cov/html (two minutes; needs cargo-llvm-cov)
	@scripts/coverage

screenshot: cargo ## draw scripts/screenshot.svg from a real session (a minute; needs tmux, and Python with rich)
	scripts/screenshot

bench: cargo ## measure the server under load (three minutes); options: make bench ARGS=--help
	cargo bench --quiet --locked --bench load -- $(ARGS)

bench-servers: cargo ## measure several servers that are one chat, in ROUNDS=5 (five minutes; needs redis-server)
	cargo bench --quiet --locked --features redis --bench load -- servers $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

bench-peers: cargo ## compare the server with InspIRCd, ngIRCd and a minimal server, in ROUNDS=3 (40 minutes; Debian)
	scripts/bench-peers $(ROUNDS)

cargo:
	@command -v cargo >/dev/null || { echo 'Rust is missing: install it from https://rustup.rs, then try again' >&2; exit 1; }
