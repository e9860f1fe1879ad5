# Everything that is needed to work on Meetwire. `make help` lists it.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

MODULES  := pkg proto services/delivery services/gateway services/ingest services/meetwire services/subscription
PACKAGES := $(MODULES:%=./%/...)
BIN      := $(CURDIR)/bin

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

up: postgres ## Run everything on this machine and show some deliveries (Ctrl-C stops it)
	@go build -o $(BIN)/meetwire ./services/meetwire/cmd/meetwire
	@exec $(BIN)/meetwire up --demo

test: postgres receivers ## Run every test of every module, with the race detector
	go test -race -timeout 15m $(PACKAGES)

test-modules: postgres receivers ## Build, vet and test each module by itself, without the workspace
	@for module in $(MODULES); do \
		echo "== $$module"; \
		(cd $$module && GOWORK=off go build ./... && GOWORK=off go vet ./... && GOWORK=off go test -timeout 15m ./...); \
	done

lint: tools protodeps ## Check style, layering and contracts
	$(BIN)/buf lint
	@for module in $(MODULES); do \
		echo "== $$module"; \
		(cd $$module && $(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...); \
		(cd $$module && GOWORK=off go mod verify >/dev/null && GOWORK=off go mod tidy -diff); \
	done

generate: tools protodeps ## Write generated code anew: gRPC, REST, OpenAPI, SQL
	$(BIN)/buf generate
	@for service in subscription ingest delivery; do (cd services/$$service && $(BIN)/sqlc generate); done

drift: generate ## Fail when generated code is not what `make generate` writes
	@test -z "$$(git status --porcelain -- proto/gen 'services/*/internal/pgstore/sqlcgen')" || \
		{ git status --porcelain -- proto/gen 'services/*/internal/pgstore/sqlcgen'; git --no-pager diff --stat; \
		  echo 'generated code differs: run `make generate` and commit it' >&2; exit 1; }

chaos: postgres ## Kill services 50 times each under load, and compare what was published with what arrived
	go test -count 1 -timeout 60m ./services/meetwire/e2e -run TestKilledAgainAndAgain -v -kills 50

bench: postgres ## Measure Meetwire: beside a bare loop, with bad neighbours, large fan-outs, long lists (BENCH="--only pages" and the like)
	@GOBIN=$(BIN) GOWORK=off go -C .tools install golang.org/x/perf/cmd/benchstat
	PATH="$(BIN):$$PATH" go run ./services/meetwire/cmd/bench $(BENCH)

tools: ## Install the pinned tools into bin/
	@GOBIN=$(BIN) GOWORK=off go -C .tools install tool

protodeps:
	@rm -rf .tools/protodeps/out
	@cd .tools && GOWORK=off go run ./protodeps protodeps/out

# Postgres is used where it is found; else the package manager installs it, where it can; else it is downloaded
# when it is first needed.
postgres:
	@if ! command -v postgres >/dev/null && ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 \
		&& command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo 'installing Postgres' && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; \
	fi

# The receivers that the end-to-end tests send to are programs for Node, PHP and Java; a publisher is one for Node.
PROGRAMS := services/meetwire/e2e/testdata/receivers/node services/meetwire/e2e/testdata/publishers/node
receivers:
	@missing=''; \
	for program in node:nodejs npm:npm php:php-cli javac:default-jdk-headless; do \
		command -v "$${program%%:*}" >/dev/null || missing="$$missing $${program##*:}"; \
	done; \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing$$missing" && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	elif [ -n "$$missing" ]; then \
		echo "the end-to-end tests need these programs:$$missing" >&2; exit 1; \
	fi
	@for folder in $(PROGRAMS); do \
		(cd $$folder && if ! cmp -s package-lock.json node_modules/.installed; then \
			npm ci --silent && cp package-lock.json node_modules/.installed; \
		fi) || exit 1; \
	done

.PHONY: help up test test-modules lint generate drift bench chaos tools protodeps postgres receivers
