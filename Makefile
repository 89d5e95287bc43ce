# Everything that a contributor runs, one target each; the work is done by cargo and hack/.
.DEFAULT_GOAL := help
.PHONY: help build windows test demo crds bench control-plane lint clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Builds windlass-operator and windlass-agent into target/release
	cargo build --locked --release --no-default-features --features operator --bin windlass-operator
	cargo build --locked --release --no-default-features --features agent --bin windlass-agent

windows: ## Builds windlass-agent for Windows and its MSI into target/windows/dist
	@hack/build-windows --msi

test: ## Runs all tests and checks; one suite alone: hack/test unit (see hack/test --help)
	@hack/test

demo: ## Shows the whole road on this machine, from kubectl apply to a condition
	@hack/demo

crds: ## Writes crds/, the chart's copy and the reference of the EdgeNode from the Rust types
	cargo run --quiet --locked --all-features --bin windlass-operator -- crds > crds/edgenodes.yaml.new
	mv crds/edgenodes.yaml.new crds/edgenodes.yaml
	cp crds/edgenodes.yaml charts/windlass/files/crds/edgenodes.yaml
	cargo run --quiet --locked --all-features --bin windlass-operator -- reference > docs/reference/edgenode.md.new
	mv docs/reference/edgenode.md.new docs/reference/edgenode.md

bench: ## Measures memory, CPU, API writes and latency against the goals
	@hack/bench

control-plane: ## Leaves a control plane running until Ctrl-C and says how to reach it
	@hack/control-plane run

lint: ## Checks format, scripts, clippy, licences and docs, without running a test
	@hack/test fmt scripts clippy deny doc

clean: ## Removes target/; the tools in the user's cache (~/.cache/windlass) stay
	cargo clean
