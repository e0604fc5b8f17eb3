# Every target has a line of help; `make` prints them.
.DEFAULT_GOAL := help
FUZZTIME ?= 30s
GO ?= go
export CGO_ENABLED ?= 1

.PHONY: help check test short fuzz up down prove mutants bench generate build tour clean

help: ## this help
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: ## what CI runs first: format, vet, staticcheck, architecture, generated files
	$(GO) run ./tools/check

test: ## everything: check, all tests with the race detector, the mutants, the tour
	$(GO) run ./tools/test

short: ## the tests that take seconds
	$(GO) test -short ./...

fuzz: ## each fuzz target for FUZZTIME
	$(GO) run ./tools/fuzz -time $(FUZZTIME)

up: build ## build and run everything on this machine, stores included
	bin/isocore up

down: ## stop what make up started
	bin/isocore down

prove: build ## attack what make up started
	bin/isocore prove

mutants: ## weaken each defence in turn: a probe must find every one
	$(GO) test -tags mutant -run 'Mutant' -timeout 20m ./broker/...

bench: build ## each path directly, through a peer and through IsoCore, in interleaved rounds; keeps docs/performance.md
	$(GO) run ./bench

generate: ## docs/verdicts and the register of built-in functions
	$(GO) generate ./...

build: ## bin/isocore and the example bin/notes, reproducible, without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o bin/ ./cmd/isocore ./examples/notes

tour: build ## walk through the README's session with real clients, and check every answer
	$(GO) run ./tools/tour

clean: ## remove what was built
	rm -rf bin
