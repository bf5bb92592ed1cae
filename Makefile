# Reflexarc: `make demo` to watch it, `make test` to check it, `make help` for the rest.
#
# Every target makes what it needs first: a Python 3.12, uv, the locked packages, the Debian libraries.
# tools/setup.py does that; once it has, the stamp below keeps it from being started at all.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

# What a sourced ROS distribution, another environment or a cautious shell sets, and what would make our
# own environment load somebody else's libraries or compile every module anew in every process.
unexport AMENT_PREFIX_PATH LD_LIBRARY_PATH PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH VIRTUAL_ENV
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

ROS_PACKAGE := ros2_ws/src/reflexarc_ros
STAMP := .venv/setup-stamp
RUN := .venv/bin
COVERED := hardware policies recording sim
COVERAGE_MIN := 85

# Any Python from 3.8 on that really runs can start the setup: a name on PATH is no proof under pyenv.
find_python = $$(for python in python3.12 python3 /usr/bin/python3 /usr/local/bin/python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && echo $$python && break; done)
run_setup = python=$(find_python); \
	if [ -z "$$python" ]; then echo "make: no Python 3 runs here. Mend it with: apt install python3" >&2; exit 2; fi; \
	PYTHONDONTWRITEBYTECODE=1 exec $$python tools/setup.py

##@ For everybody

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { print "\n" substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(STAMP) ## Fly the quadrotor and move the arm; ARGS="--headless --seconds 5 --out DIR" is passed on
	@exec $(RUN)/reflexarc demo $(ARGS)

.PHONY: setup
setup: $(STAMP) ## Make .venv from requirements.lock; does nothing when nothing changed
	@echo "setup      .venv is up to date"

.PHONY: env
env: ## Make a side environment: NAME=betaflight, franka, isaac, l2f or robosuite
	@if [ -z "$(NAME)" ]; then echo "make env: say which one: make env NAME=$$(ls env | tr '\n' ' ' | sed 's/ $$//; s/ / | NAME=/g')" >&2; exit 2; fi
	@$(run_setup) env $(NAME)

##@ For developers

.PHONY: test
test: lint types spell xml unit smoke ## Everything CI runs: lint, types, spelling, XML, tests with coverage, a short demo
	@echo "test       everything passed"

.PHONY: lint
lint: $(STAMP) ## Style: ruff's rules and format
	@echo "lint       ruff check, ruff format"
	@$(RUN)/ruff check --quiet .
	@$(RUN)/ruff format --quiet --check . || { echo "lint       mend it with: make format" >&2; exit 1; }

.PHONY: format
format: $(STAMP) ## Mend what ruff can mend
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

.PHONY: types
types: $(STAMP) ## Types: mypy, strict, where ROS is not
	@echo "types      mypy"
	@$(RUN)/mypy

.PHONY: spell
spell: $(STAMP) ## Spelling: codespell
	@echo "spell      codespell"
	@$(RUN)/codespell

.PHONY: xml
xml: $(STAMP) ## XML: well-formed, and each package.xml by the rules of format 3
	@echo "xml        xmllint"
	@command -v xmllint >/dev/null || { echo "xml        xmllint is missing. Mend it with: apt install libxml2-utils" >&2; exit 2; }
	@git ls-files -z '*.xml' '*.xsd' '*.rng' '*.urdf' | xargs -0 xmllint --noout --nonet
	@xmllint --noout --nonet --relaxng tools/package_format3.rng package.xml $(ROS_PACKAGE)/package.xml

# Compilers and an emulator, in their own step: nobody needs them to fly. They are looked for at every run.
.PHONY: test-tools
test-tools: $(STAMP)
	@$(run_setup) test-tools

.PHONY: unit
unit: $(STAMP) test-tools ## Tests with coverage; PYTEST="-k gate -x" is passed on
	@echo "unit       pytest"
	@mkdir -p .pytest_cache
	@MUJOCO_GL=$${MUJOCO_GL:-egl} HF_HUB_OFFLINE=1 COVERAGE_CORE=sysmon \
		$(RUN)/python -m pytest -q --durations=10 $(COVERED:%=--cov=%) --cov-report= $(PYTEST)
	@for room in $(COVERED); do \
		$(RUN)/coverage report --include="$$room/*" --fail-under=$(COVERAGE_MIN) >.pytest_cache/coverage-$$room.txt; code=$$?; \
		echo "coverage   $$room $$(tail -n 1 .pytest_cache/coverage-$$room.txt | awk '{ print $$NF }')"; \
		[ $$code -eq 0 ] || { cat .pytest_cache/coverage-$$room.txt; echo "coverage   $$room is below $(COVERAGE_MIN) % of lines" >&2; exit 1; }; \
	done

.PHONY: smoke
smoke: $(STAMP) ## The demo, short and headless, into a folder that is thrown away
	@echo "smoke      reflexarc demo --headless --seconds 5"
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		$(RUN)/reflexarc demo --headless --seconds 5 --out "$$folder"

.PHONY: lock
lock: ## Resolve every requirements.lock again
	@$(run_setup) lock

.PHONY: clean
clean: ## Remove the environments and what was built; reports and trained policies stay
	@rm -rf .venv .env-* build dist log install ros2_ws/build ros2_ws/install ros2_ws/log
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* *.egg-info $(ROS_PACKAGE)/*.egg-info
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean      removed"

# Anything that setup.py's own stamp looks at. A newer file starts it; it decides whether there is work.
$(STAMP): requirements.lock requirements.overrides pyproject.toml .python-version setup.py package.xml \
		$(addprefix $(ROS_PACKAGE)/,pyproject.toml setup.py package.xml) $(wildcard launch/*.py $(ROS_PACKAGE)/scripts/*) \
		$(wildcard */__init__.py plugins/*/pyproject.toml) tools/setup.py
	@$(run_setup)
