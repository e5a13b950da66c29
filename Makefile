# Everything a developer does here. `make` alone lists it. Nothing needs an AWS account or Docker.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUNCTIONS := $(filter-out functions/core/,$(wildcard functions/*/))
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
export NODE_NO_WARNINGS := 1
export CDK_DISABLE_CLI_TELEMETRY := true
# What people give to judge and simulate goes on as it stands: a $ in it is not make's.
GIVEN := POINTS POLICY RETENTION NOW FORMAT YEARS START OUTAGES WHATIF OUT
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)
# So that the CDK CLI's "python3 app.py" is the one with our packages.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help venv check test unit demo cloud judge simulate synth lock schema security constraints bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

venv: node_modules/.package-lock.json $(VENV)/installed  ## install what is needed into the checkout

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt functions/core/requirements.in
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lastgood needs Python 3.11 or later: make PYTHON=python3.13 venv")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json
	@command -v npm > /dev/null || { echo "Lastgood's tests and deployment need Node 20 or later with npm: install it and try again"; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

check: venv  ## format, lint, types, import rules, cfn-lint, cdk-nag
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy functions/core/python/lastgood $(FUNCTIONS) infra app.py
	$(BIN)/pytest -q tests/unit/test_architecture.py tests/infra/test_lint.py tests/infra/test_nag.py

# A file at a time: what its tests share is made once.
PYTEST := $(BIN)/pytest -q --numprocesses auto --dist loadfile

test: venv  ## every test
	$(PYTEST)

unit: venv  ## the fast tests: no deployment
	$(PYTEST) -m "not slow"

demo: venv  ## deploy into the test cloud and watch a fleet being protected
	$(BIN)/python -m tests.demo

cloud: venv  ## the test cloud with the bundle deployed, left running
	$(BIN)/python -m tests.demo --stay

judge:  ## what would a policy do to these? POINTS=file|- POLICY=name|RETENTION=json [NOW= FORMAT=table|json]
	@$(MAKE) -s --no-print-directory venv >&2
	@$(BIN)/python -m infra.judge "$$POINTS" $${POLICY:+--policy "$$POLICY"} \
	  $${RETENTION:+--retention "$$RETENTION"} $${NOW:+--now "$$NOW"} $${FORMAT:+--format "$$FORMAT"}

simulate:  ## what a policy keeps over years: POLICY=name [YEARS= START= OUTAGES= WHATIF= OUT=timeline.svg]
	@$(MAKE) -s --no-print-directory venv >&2
	@$(BIN)/python -m infra.simulate $${POLICY:+--policy "$$POLICY"} $${YEARS:+--years "$$YEARS"} \
	  $${START:+--start "$$START"} $${OUTAGES:+--outages "$$OUTAGES"} \
	  $${WHATIF:+--what-if "$$WHATIF"} $${OUT:+--out "$$OUT"}

synth: venv  ## the CloudFormation templates, into cdk.out
	node_modules/.bin/cdk synth --quiet --no-notices

bench: venv  ## EC2 calls beside other tools, pace, judging, cold starts (about two hours)
	$(BIN)/python -m tests.bench

lock: venv  ## renew functions/core/requirements.txt, the layer's lock, from requirements.in
	$(BIN)/python -m infra.packages

schema: venv  ## renew policies.schema.json from the types
	$(BIN)/python -m tests.support.policy_schema --write

security: venv  ## renew docs/security.md from the templates
	$(BIN)/python -m tests.support.security_table --write

constraints: venv  ## renew constraints.txt from what is installed
	(echo "# Everything that requirements-dev.txt brings along, exact. Renew: make constraints"; \
	  $(BIN)/pip freeze --exclude pip --exclude setuptools) > constraints.txt

clean:  ## remove what was installed and built
	rm -rf $(VENV) node_modules build cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis
