# The only entry point. `make up` and `make test` need only a Debian machine with curl and npm: they fetch everything else.
.DEFAULT_GOAL := help
.PHONY: help up check audit format test test-faults test-full coverage bench gate generate clean reset

# Puts a recent enough Node and the installed packages at the front of PATH.
with := sh deploy/local/node.sh

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

up: ## Run the whole mesh on this machine until Ctrl-C
	@$(with) node deploy/local/up.ts

check: ## Check types, format, lint, dead code, contracts and generated code
	@$(with) tsc --noEmit
	@$(with) oxfmt --check .
	@$(with) oxlint --type-aware --deny-warnings
	@$(with) knip
	@$(with) node proto/contracts.ts check
	@$(with) node proto/contracts.ts lint
	@$(with) node proto/contracts.ts breaking
	@$(with) node deploy/env-example.ts check

audit: ## Look for known vulnerabilities of packages that processes run with
	@$(with) node deploy/audit-dependencies.ts

test: ## Run the tests (Postgres and Redis are started for them)
	@sh deploy/local/redis.sh
	@$(with) vitest run --project '!faults'

test-faults: ## Run the tests that kill, replace and overload processes, one at a time
	@sh deploy/local/redis.sh
	@$(with) vitest run --project faults

test-full: ## Run the long tests as well, with RELAY_TEST_SEED or a fresh seed
	@sh deploy/local/redis.sh
	@sh deploy/local/promtool.sh
	@RELAY_TEST_FULL=1 RELAY_TEST_SEED=$${RELAY_TEST_SEED:-$$(date +%s)} $(with) vitest run

# Tests of costs measure time, which measuring coverage multiplies.
coverage: ## Run the unit tests, and fail if they reach less of the code than they should
	@sh deploy/local/redis.sh
	@$(with) vitest run --project unit --project apart --coverage --exclude 'test/**/*-cost.test.ts'

bench: ## Measure performance against the baseline (takes about ten minutes)
	@sh deploy/local/redis.sh
	@$(with) node bench/run.ts

gate: ## Load the running mesh and decide whether it is good enough to release (GATE_ARGS=--help)
	@$(with) node gate/run.ts $(GATE_ARGS)

format: ## Lay out every file as `make check` wants it
	@$(with) oxfmt .

generate: ## Generate code from the contracts, docs/errors.md, and .env.example
	@$(with) node proto/contracts.ts generate
	@$(with) node deploy/env-example.ts generate

clean: ## Remove the installed packages and tools; keep data
	rm -rf node_modules .toolchain .cache

reset: ## Delete local data, secrets and logs
	@$(with) node deploy/local/reset.ts
