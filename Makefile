# make build              the program, target/release/ttyplugd
# make check              the quick checks: formatting, lints, every test that needs no engine
# make test               the checks and tests, beside a Docker engine of its own
# make test-applications  the tests with real programs: pyserial, Node, Go, a 32-bit one
# make deny               advisories, licences and sources of the dependencies
# make fuzz               every decoder of bytes from outside against made-up input, for SECONDS=60 each;
#                         TARGETS="NAME..." is a part of them
# make chaos              random operations on everything at once, and after each round of them everything
#                         as it must be, for SECONDS=600 or OPERATIONS=n; SEED=n repeats what a run
#                         with that seed has done, WITHOUT="pause kill-engine" leaves operations out
# make soak               32 containers and a plug every second for SECONDS=3600: memory, descriptors
#                         and latency, as target/chaos/soak.csv
# make demo               one port plugged, used and unplugged, with times
# make bench              time from the uevent to the node, against the udev script it replaces and
#                         by each way of making it, and what holding opens costs and brings;
#                         ROUNDS=3 is a quick look
# make bench-plots        the tables and pictures of docs/measured.md, of what make bench has measured
# make deb                Debian packages, target/debian/*.deb, for ARCHS="amd64 arm64 armhf"
# make release            what release VERSION=1.2.3 of this commit has, target/release-1.2.3: sources,
#                         packages, bill of materials, notes and checksums; first says what is missing
# make apt-repository     an apt repository of these packages, target/apt, signed with gpg's key
#                         KEY=FINGERPRINT
# make e2e                the package in a whole machine in QEMU: reboots, USB, upgrades; DEBIAN=12 has
#                         it on Debian 12, DEBIAN=14 on what becomes Debian 14, SCENARIOS="NAME..." is
#                         a part of it; the random test is one of them, for SECONDS=300, SEED=n, and a
#                         reboot, REBOOTS=3 times
# make e2e-engines        the same with engines other than Docker, on machines without Docker: containerd by
#                         CRI, as a Kubernetes node has it; at most an hour each. MACHINES="NAME..." is a
#                         part of them
# make e2e-arm            the same for the packages of the Pi, on emulated ARM machines; takes long
# make install            DESTDIR= and PREFIX= as usual
#
# Whatever is missing is installed with apt-get (tests/prerequisites.sh).

CARGO ?= cargo
DESTDIR ?=
PREFIX ?= /usr
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
SYSCONFDIR ?= /etc
# Where the distribution has its units and rules; both packages may lack a .pc file.
UNITDIR ?= $(or $(shell pkg-config --variable=systemdsystemunitdir systemd 2>/dev/null),$(PREFIX)/lib/systemd/system)
RULESDIR ?= $(or $(addsuffix /rules.d,$(shell pkg-config --variable=udevdir udev 2>/dev/null)),$(PREFIX)/lib/udev/rules.d)
SHELL := /bin/bash
# cargo install puts cargo-deny there, and not every PATH has it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

ARCHS ?= amd64 arm64 armhf

.PHONY: all build check test test-applications lint deny fuzz chaos soak demo bench bench-plots deb release apt-repository e2e e2e-engines e2e-arm install clean

all: build

build:
	tests/prerequisites.sh
	$(CARGO) build --release --locked

lint:
	tests/prerequisites.sh lint
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) fmt --check --manifest-path tests/e2e/cri/Cargo.toml
	$(CARGO) clippy --all-targets --locked -- -D warnings

# Modules named with_engine need the engine; everything else runs anywhere.
check:
	$(MAKE) lint
	$(CARGO) test --locked -- --skip with_engine::

# The advisories are on the network. Without it everything else is checked still, and it is said.
deny:
	tests/prerequisites.sh deny
	$(CARGO) deny --locked check bans licenses sources
	@if timeout 120 $(CARGO) deny --locked fetch db 2>/dev/null; then \
		$(CARGO) deny --locked --offline check advisories; \
	else \
		echo "deny: the advisory database cannot be reached, so advisories were not checked"; \
	fi

# cargo builds as whoever calls it; only the test program runs below with-engine.sh, as root. What a
# container may do to lead us astray is tried against each way of making nodes.
BELOW_ENGINE := $(CARGO) --config "target.'cfg(all())'.runner = 'tests/with-engine.sh'"
SIDE_BY_SIDE := $(CARGO) --config "target.'cfg(all())'.runner = 'tests/side-by-side.sh'"
COUNTED := $(CARGO) --config "target.'cfg(all())'.runner = 'tests/instructions.sh'"
APPLICATIONS := with_engine::applications with_engine::examples

test:
	tests/prerequisites.sh test
	$(MAKE) check
	$(COUNTED) test --locked --lib
	$(SIDE_BY_SIDE) test --locked --test it -- with_engine:: $(addprefix --skip ,$(APPLICATIONS))
	@echo "Left out: make test-applications (real programs), make deny (dependencies), make e2e (a whole machine)."

TARGET := $(or $(CARGO_TARGET_DIR),target)
ROOT := $(TARGET)/tmp/applications.tar

test-applications:
	tests/prerequisites.sh applications
	$(MAKE) $(ROOT)
	$(BELOW_ENGINE) test --locked --test it -- $(APPLICATIONS)

$(ROOT): tests/applications.sh $(wildcard tests/applications/*)
	mkdir -p $(@D)
	tests/applications.sh $@

TARGETS ?=
fuzz: SECONDS ?= 60
fuzz:
	tests/prerequisites.sh fuzz
	fuzz/run.sh $(SECONDS) $(TARGETS)

# Both print what they do, and are no part of the tests.
CHAOS = $(BELOW_ENGINE) test --locked --test it -- --ignored --nocapture --exact
SEED ?=
OPERATIONS ?=
WITHOUT ?=
chaos: SECONDS ?= 600
chaos: export TTYPLUGD_TEST_SECONDS = $(SECONDS)
chaos: export TTYPLUGD_TEST_OPERATIONS = $(OPERATIONS)
chaos: export TTYPLUGD_TEST_WITHOUT = $(WITHOUT)
chaos: export TTYPLUGD_TEST_SEED = $(SEED)
chaos:
	tests/prerequisites.sh test
	$(CHAOS) chaos::random_operations

soak: SECONDS ?= 3600
soak: export TTYPLUGD_TEST_SECONDS = $(SECONDS)
soak:
	tests/prerequisites.sh test
	$(CHAOS) chaos::soak::soak

demo:
	tests/prerequisites.sh test
	$(CARGO) build --release --locked
	tests/with-engine.sh tests/demo.sh $(TARGET)/release/ttyplugd

# As with the tests, only the program that measures runs as root.
bench:
	tests/prerequisites.sh test
	$(BELOW_ENGINE) bench --locked --bench plug -- $(ROUNDS)
	$(BELOW_ENGINE) bench --locked --bench hold -- $(ROUNDS)
	$(BELOW_ENGINE) bench --locked --bench inject -- $(ROUNDS)
	$(BELOW_ENGINE) bench --locked --bench many -- $(ROUNDS)

bench-plots:
	docs/measured.py $(TARGET)/bench

deb:
	tests/prerequisites.sh deb $(ARCHS)
	packaging/deb.sh $(ARCHS)

VERSION ?=
release:
	packaging/release.sh check "$(VERSION)"
	tests/prerequisites.sh release
	$(MAKE) deb
	packaging/release.sh make "$(VERSION)" $(ARCHS:%=target/debian/ttyplugd_$(VERSION)_%.deb)

KEY ?=
apt-repository:
	tests/prerequisites.sh repository
	packaging/apt-repository.sh "$(KEY)" target/apt $(wildcard target/debian/*.deb)

# The machine has the package that was made from what is here now.
DEBIAN ?= 13
SUITES := 12-bookworm 13-trixie 14-forky
MACHINE := $(patsubst $(DEBIAN)-%,%-amd64,$(filter $(DEBIAN)-%,$(SUITES)))
SCENARIOS ?=
REBOOTS ?= 3
e2e: SECONDS ?= 300
e2e: export TTYPLUGD_TEST_SECONDS = $(SECONDS)
e2e: export TTYPLUGD_TEST_SEED = $(SEED)
e2e: export TTYPLUGD_TEST_REBOOTS = $(REBOOTS)
e2e:
	tests/prerequisites.sh e2e
	tests/prerequisites.sh test
	$(MAKE) deb ARCHS=amd64
	$(if $(filter %random-operations,$(or $(SCENARIOS),random-operations)),$(PACK_RANDOM_TEST))
	tests/e2e/run.sh --machine $(MACHINE) $(SCENARIOS)

PACK_RANDOM_TEST = $(CARGO) --config "target.'cfg(all())'.runner = 'tests/e2e/chaos.sh'" test --locked --test it

# Each machine is of tests/e2e/machines and without Docker.
MACHINES ?= forky-containerd-amd64 bookworm-podman-amd64 trixie-podman-amd64 forky-podman-amd64
e2e-engines:
	tests/prerequisites.sh e2e
	$(MAKE) deb ARCHS=amd64
	$(CARGO) build --locked --manifest-path tests/e2e/cri/Cargo.toml --target-dir $(TARGET)/cri
	failed=; for machine in $(MACHINES); do \
		timeout --kill-after=120 3600 tests/e2e/run.sh --machine $$machine $(SCENARIOS) || failed=yes; \
	done; [ -z "$$failed" ]

ARM_MACHINES := bookworm-armhf bookworm-armhf-on-arm64 bookworm-arm64 trixie-armhf-on-arm64
e2e-arm:
	tests/prerequisites.sh e2e arm
	$(MAKE) deb ARCHS="armhf arm64"
	failed=; for machine in $(ARM_MACHINES); do \
		tests/e2e/run.sh --machine $$machine $(SCENARIOS) || failed=yes; \
	done; [ -z "$$failed" ]

install:
	[ -e target/release/ttyplugd ] || $(MAKE) build
	install -D -m 755 -t "$(DESTDIR)$(BINDIR)" target/release/ttyplugd target/release/ttyplug-runtime
	[ -e "$(DESTDIR)$(SYSCONFDIR)/ttyplugd/config.toml" ] || \
		install -D -m 644 -t "$(DESTDIR)$(SYSCONFDIR)/ttyplugd" packaging/config.toml
	install -D -m 644 -t "$(DESTDIR)$(UNITDIR)" systemd/ttyplugd.service
	sed -i 's|=/usr/bin/ttyplugd|=$(BINDIR)/ttyplugd|' "$(DESTDIR)$(UNITDIR)/ttyplugd.service"
	install -D -m 644 systemd/ttyplugd.tmpfiles "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/ttyplugd.conf"
	install -D -m 644 systemd/ttyplugd.modules-load "$(DESTDIR)$(PREFIX)/lib/modules-load.d/ttyplugd.conf"
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/catalog" systemd/ttyplugd.catalog
	install -D -m 644 -t "$(DESTDIR)$(RULESDIR)" udev/70-ttyplugd.rules
	install -D -m 644 -t "$(DESTDIR)$(DATADIR)/man/man5" man/*.5
	install -D -m 644 -t "$(DESTDIR)$(DATADIR)/man/man8" man/*.8
	install -D -m 644 completions/ttyplugd.bash "$(DESTDIR)$(DATADIR)/bash-completion/completions/ttyplugd"
	install -D -m 644 completions/ttyplugd.zsh "$(DESTDIR)$(DATADIR)/zsh/vendor-completions/_ttyplugd"
	install -D -m 644 -t "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d" completions/ttyplugd.fish
	install -D -m 644 -t "$(DESTDIR)$(DATADIR)/doc/ttyplugd" *.md
	install -D -m 644 -t "$(DESTDIR)$(DATADIR)/doc/ttyplugd/docs" docs/*.md docs/*.svg
	cp -r --no-preserve=ownership examples "$(DESTDIR)$(DATADIR)/doc/ttyplugd/"

# The root in which the packages are built belongs to root.
clean:
	[ ! -e target/debian/root ] || packaging/root.sh remove target/debian/root
	$(CARGO) clean
