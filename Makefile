# The one door. `make up` and `make test` need nothing but a machine with npm: they fetch what is missing.
.DEFAULT_GOAL := help
.PHONY: help up check test test-full bench gate generate clean reset

# Puts a Node that is new enough and the installed packages in front of PATH.
with := sh deploy/local/node.sh

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

up: ## Run the whole mesh on this machine until Ctrl-C
	@$(with) node deploy/local/up.ts

check: ## Types, lint, dead code, contracts and their generated code
	@$(with) tsc --noEmit
	@$(with) oxlint --type-aware --deny-warnings
	@$(with) knip
	@$(with) node proto/contracts.ts check
	@$(with) node proto/contracts.ts lint
	@$(with) node proto/contracts.ts breaking

test: ## Run the tests (Postgres and Redis are started for them)
	@sh deploy/local/redis.sh
	@$(with) vitest run

test-full: ## The tests that take longer too, from RELAY_TEST_SEED or a fresh seed
	@sh deploy/local/redis.sh
	@sh deploy/local/promtool.sh
	@RELAY_TEST_FULL=1 RELAY_TEST_SEED=$${RELAY_TEST_SEED:-$$(date +%s)} $(with) vitest run

bench: ## Measure against the floor
	@sh deploy/local/redis.sh
	@$(with) node bench/run.ts

gate: ## Load the mesh that runs and say whether it is good enough to release (GATE_ARGS=--help)
	@$(with) node gate/run.ts $(GATE_ARGS)

generate: ## Generate code from the contracts
	@$(with) node proto/contracts.ts generate

clean: ## Remove what was installed; data stays
	rm -rf node_modules .toolchain .cache

reset: ## Forget local mode's data, secrets and logs
	@$(with) node deploy/local/reset.ts
