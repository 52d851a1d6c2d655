# Everything is set up on use: a virtual environment in .venv/, and what is missing of Debian's packages.
# The second time a target finds all of it there and goes straight to work.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet --quiet

# What has to be there, as command=package (ensurepip and libvirt-python are modules). Some of it lives where only root looks.
export PATH := $(PATH):/usr/sbin:/sbin
for_demo := ensurepip=python3-venv qemu-system-x86_64=qemu-system-x86 udevadm=udev ip=iproute2
for_tests := $(for_demo) unshare=util-linux virsh=libvirt-clients virt-qemu-run=libvirt-daemon-driver-qemu nasm=nasm libvirtd=libvirt-daemon libvirt-python=python3-libvirt umockdev-wrapper=umockdev systemctl=systemd zsh=zsh fish=fish man=man-db
for_lab := $(for_tests) cpio=cpio modprobe=kmod gcc=gcc setpriv=util-linux

# pyright asks the network for a newer version of itself unless told not to.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# The tests that start little, as two halves for two cores.
QUICK_1 := $(addprefix tests/,events engine cli docs typing test_public.py test_floors.py)
QUICK_2 := $(addprefix tests/,model wire libvirtxml hostdev drivers testing conformance fuzz test_blocking.py)
# Tests that mostly wait for time to pass.
WAITING := $(addprefix tests/real/test_,restart.py shortage.py stuck_guest.py)

COVERED := $(PY) -m coverage run --rcfile=tests/coverage.toml -m pytest
HELD_AGAINST_FLOORS := $(PY) -m coverage combine --quiet --rcfile=tests/coverage.toml && \
	$(PY) -m coverage json --quiet --rcfile=tests/coverage.toml -o build/coverage/report.json && \
	$(PY) -m tests.lab.floors build/coverage/report.json
PYTHONS := 3.13 3.14
QEMUS := 10 11

BENCHES := $(patsubst benchmarks/%.py,%,$(sort $(wildcard benchmarks/bench_*.py)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One thing after another, also under make -j: what is missing is said before anything is installed.
.NOTPARALLEL:
.PHONY: help setup setup-demo setup-tests setup-lab debian-for-demo debian-for-tests debian-for-lab demo quick test coverage test-minimum test-newest lab crash shortage soak fuzz backports lint lint-changed bench promises docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1@\2/p' $(MAKEFILE_LIST) | while IFS=@ read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

setup: setup-tests setup-lab ## set up all that is missing, for the demo and for the tests

demo: setup-demo ## two real guests and a hot-plugged device on one event stream, on asyncio and on trio
	@$(PY) examples/demo.py

# Two processes for two cores, and a third one of tests that mostly wait for time to pass, so that it takes little from the two.
# What failed is said once more at the end.
test: setup-tests setup-lab ## all checks and all tests; those of tests/real and tests/system in namespaces, those of tests/labguest in a guest
	@rm -rf build/coverage; mkdir -p build/coverage; : >build/failed; \
	{ $(PY) -m tests.lab.sandbox $(PY) -m pytest tests/real $(WAITING:%=--ignore=%) || echo tests/real >>build/failed; \
	$(PY) -m tests.lab.run_lab || echo tests/labguest >>build/failed; \
	$(MAKE) --no-print-directory lint || echo lint >>build/failed; } >build/real.log 2>&1 & \
	{ $(PY) -m tests.lab.sandbox $(PY) -m pytest $(WAITING) || echo tests/real >>build/failed; \
	$(PY) -m tests.lab.sandbox $(COVERED) tests/system || echo tests/system >>build/failed; \
	$(PY) -m tests.lab.sandbox --udev $(PY) -m pytest tests/udev || echo tests/udev >>build/failed; } >build/system.log 2>&1 & \
	{ $(COVERED) $(QUICK_1) $(QUICK_2) || echo tests >>build/failed; \
	$(PY) -m pytest $(patsubst %,--ignore=%,$(QUICK_1) $(QUICK_2) $(addprefix tests/,real system udev labguest)) || echo tests >>build/failed; } 2>&1 | tee build/tests.log; \
	wait; cat build/system.log build/real.log; \
	{ $(HELD_AGAINST_FLOORS) || echo coverage >>build/failed; } 2>&1 | tee build/coverage.log; [ ! -s build/failed ] || \
	{ echo "failed: $$(xargs <build/failed)"; grep -hE '^(E  |FAILED|ERROR|[^ ]+: error)' build/tests.log build/system.log build/real.log build/coverage.log; exit 1; }

coverage: setup-tests ## how much of each room of aiovirt/ is run by the tests that start little, and its floor in tests/coverage.toml
	@rm -rf build/coverage; mkdir -p build/coverage; \
	$(COVERED) $(QUICK_1) $(QUICK_2) && $(PY) -m tests.lab.sandbox $(COVERED) tests/system && $(HELD_AGAINST_FLOORS)

lab: setup-lab ## the tests of real PCI devices, in a guest of their own; built on use, in build/lab
	@$(PY) -m tests.lab.run_lab

crash: setup-tests ## the tests that kill engines and cut their power, at ten times as many points
	@AIOVIRT_CRASH_POINTS=200 $(PY) -m pytest tests/crash

shortage: setup-tests ## an engine that is short of something, in each phase and at each call; half an hour, what fails is in a table
	@mkdir -p build; for loop in asyncio uvloop trio; do \
		$(PY) -m tests.lab.sandbox $(PY) -m tests.support.run_shortage --backend $$loop $(SHORTAGE) >build/shortage-$$loop.md 2>&1 & \
	done; wait; cat build/shortage-*.md; ! grep -qv -e ' ok |$$' -e '^| case ' -e '^|---' build/shortage-*.md

soak: setup-tests ## an engine that is used hard for half an hour, or AIOVIRT_SOAK_SECONDS, holds no more at the end; a plot
	@$(PY) -m tests.lab.sandbox $(PY) -m tests.soak.run

fuzz: setup-tests ## made-up bytes for all that reads bytes; for ten minutes, or AIOVIRT_FUZZ_SECONDS
	@$(PY) -m tests.fuzz.run

quick: setup-tests ## what changed since main is linted, and the tests that start little are run
	@mkdir -p build; \
	{ $(MAKE) --no-print-directory lint-changed; echo $$? >build/lint.status; } >build/lint.log 2>&1 & \
	{ $(PY) -m pytest $(QUICK_1); echo $$? >build/quick.status; } >build/quick.log 2>&1 & \
	$(PY) -m pytest $(QUICK_2); tests=$$?; \
	wait; cat build/quick.log build/lint.log; [ "$$tests $$(cat build/quick.status build/lint.status | xargs)" = "0 0 0" ]

test-minimum: setup-tests ## the quick tests, with the lowest releases that pyproject.toml allows
	@$(PYTHON) -m venv --clear build/minimum
	@$(PY) -m tests.lab.lowest test >build/minimum/lowest.txt
	@$(PIP) --python build/minimum/bin/python install --editable . --requirement build/minimum/lowest.txt --group lint
	@build/minimum/bin/python -m pytest $(QUICK_1) $(QUICK_2)

test-newest: setup-tests ## the quick tests, with the newest of all, on the Pythons of Debian's later suites
	@for version in $(PYTHONS); do \
		python=$$($(PY) -m tests.lab.pythons build/python-$$version $$version) && \
		$$python -m venv --clear --without-pip build/newest-$$version && \
		$(PIP) --python build/newest-$$version/bin/python install --upgrade --editable . --group test --group lint && \
		build/newest-$$version/bin/python -VV && build/newest-$$version/bin/python -m pytest $(QUICK_1) $(QUICK_2) || exit; \
	done

backports: setup-tests ## the tests of QEMU sessions and guests with the QEMUs of Debian's backports, 10 and 11
	@for version in $(QEMUS); do \
		AIOVIRT_TEST_QEMU=$$($(PY) -m tests.lab.backports build/qemu-$$version $$version) && export AIOVIRT_TEST_QEMU && \
		$$AIOVIRT_TEST_QEMU --version && \
		$(PY) -m tests.lab.sandbox $(PY) -m pytest tests/real/test_qmp_session.py tests/real/test_qemu.py tests/real/test_stuck_guest.py || exit; \
	done

lint: setup-tests ## ruff, mypy, pyright, and the floors of the house (import-linter)
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/pyright
	@$(VENV)/bin/lint-imports --no-logo --no-cache

# What differs from where the branch left main; on main itself, from what is committed; without git, all. Types and imports
# are the whole tree's.
lint-changed: setup-tests ## ruff on what changed since main, mypy, and the floors of the house (import-linter)
	@changed=$$(base=$$(git merge-base HEAD main || echo HEAD) 2>/dev/null; \
		git diff --name-only --diff-filter=d $$base -- '*.py' && git ls-files --others --exclude-standard -- '*.py') || changed=.; \
	[ -z "$$changed" ] || { $(VENV)/bin/ruff check $$changed && $(VENV)/bin/ruff format --check $$changed; }
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo --no-cache

bench: setup-tests ## every benchmark, each beside its contenders
	@for bench in $(BENCHES); do $(PY) -m benchmarks.$$bench || exit; done

promises: setup-tests ## the quick form of the benchmarks, held against benchmarks/promises.toml
	@$(PY) -m benchmarks.promises

docs: setup-tests ## docs/events.md, docs/drivers.md and docs/aiovirt.1, from what events' classes, orders and verbs say of themselves
	@$(PY) -m docs.generate_events
	@$(PY) -m docs.generate_drivers
	@$(PY) -m docs.generate_man

clean: ## remove what the other targets made here
	rm -rf $(VENV) build dist fuzz-* .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find aiovirt tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# -- set-up ------------------------------------------------------------------------------------

setup-demo: debian-for-demo $(VENV)/.for-demo
setup-tests: debian-for-tests $(VENV)/.for-tests
setup-lab: debian-for-lab $(VENV)/.for-tests

debian-for-demo:
	$(call debian,the demo (real guests and devices),$(for_demo))

debian-for-tests:
	$(call debian,the tests (real guests and devices; libvirt and nasm to compare with),$(for_tests))

debian-for-lab:
	$(call debian,the lab (a guest with real PCI devices),$(for_lab))

$(VENV)/.for-demo: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing aiovirt and what it needs into $(VENV)/"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.for-tests: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing aiovirt and the tools of its tests into $(VENV)/"
	@$(PIP) install --editable . --group test --group lint
	@touch $@ $(VENV)/.for-demo

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aiovirt needs Python 3.11 or later; say which with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'

# $(call debian,WHAT FOR,command=package …) installs the packages whose commands are missing.
# Without root it says what to run instead, and fails. apt talks much: its words are shown when it fails.
define debian
@have() { case $$1 in \
	ensurepip) [ -e $(VENV)/pyvenv.cfg ] || $(PYTHON) -c 'import ensurepip' 2>/dev/null ;; \
	libvirt-python) [ -e /usr/lib/python3/dist-packages/libvirt.py ] ;; \
	*) command -v "$$1" >/dev/null ;; \
esac; }; \
set --; \
for need in $(2); do have "$${need%%=*}" || set -- "$$@" "$${need#*=}"; done; \
[ $$# -gt 0 ] || exit 0; \
if [ "$$(id -u)" != 0 ]; then \
	echo "Debian packages are missing for $(1). Please run:" >&2; \
	echo "sudo apt-get install --no-install-recommends $$*" >&2; \
	exit 1; \
fi; \
echo "Installing Debian packages for $(1): $$*"; \
log=$$(mktemp); trap 'rm -f "$$log"' EXIT; export DEBIAN_FRONTEND=noninteractive; \
{ apt-get update && apt-get install --yes --no-install-recommends "$$@"; } >"$$log" 2>&1 </dev/null || { cat "$$log" >&2; exit 1; }
endef
