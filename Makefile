# Verbs only: each line calls cargo or a script. `make` alone lists them.

.PHONY: help setup run check test test-whole lint fmt release bench count bench-engine bench-layers check-metal verify-model verify-peft prove-kill prove-batches prove-sim prove-policy prove-outage prove-rotation prove-scale prove-fleet prove-regions prove-overload prove-sockets prove-reconciliation prove-replay prove-state prove-tasks prove-runs prove-heartbeats prove-placement prove-tunnels prove-peers prove-nodes prove-upgrade prove-flakes dump fuzz builtin-model dist dist-test test-clients test-buckets test-servers test-relay test-a2a
.DEFAULT_GOAL := help
ARGS ?=

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the tests need, once
	@scripts/test-env.sh

run: ## build the gateway and start it, then a node with the small model that comes with the source
	@scripts/run.sh

check: ## format, tidy, clippy and tests of the crates that you changed: a minute, without PostgreSQL or a browser
	@cargo xtask check $(ARGS)

test: ## the gates, what any change can break, and the tiers that this change names (ARGS="engine sdk" names them, ARGS=core none)
	@scripts/test.sh $(ARGS)

test-whole: ## every gate and every test; kept in docs/proofs/whole.txt
	@scripts/test.sh whole

test-clients: ## real frameworks and command lines through the gateway (minutes; installs them, apart from `make test`)
	@scripts/clients.sh

test-buckets: ## files in servers of S3 and Azure Blob (installs them, apart from `make test`)
	@scripts/buckets.sh

test-servers: ## the real llama.cpp server as a node (builds it, apart from `make test`; minutes)
	@scripts/servers.sh

test-relay: ## peers behind routers, with a relay between them (builds iroh's relay, apart from `make test`; needs root and nft)
	@scripts/relay.sh

test-a2a: ## the A2A protocol's own kit of tests, from a checkout of it (KIT=DIR; installs what it needs, apart from `make test`)
	@scripts/a2a-tck.sh "$(KIT)"

lint: ## the gates without the tests
	@scripts/test.sh gates

fmt: ## format the sources
	@cargo fmt --all
	@find crates/operations/src -name '*.rs' -exec rustfmt --edition 2024 {} +

release: ## build what is shipped: target/tidegate, laid out by a profile of real requests (half an hour)
	@scripts/release.sh

dist: ## pack releases into dist/: archives, Debian packages, OCI images, install.sh, SBOM (TIDEGATE_DIST_BINARY=PATH packs that binary)
	@scripts/dist.sh

dist-test: ## install what `make dist` packs on this machine, check and remove it (needs root, skopeo, umoci, lintian)
	@scripts/dist-test.sh

bench: ## measure the release beside nginx and a thin pass-through (ARGS="--rounds 5 --secs 5 --only us,nginx")
	@scripts/bench.sh $(ARGS)

count: ## count the instructions of what ships, for the whole process, beside the least so far (ARGS=--no-save)
	@scripts/count.sh $(ARGS)

bench-engine: ## measure the engine beside llama.cpp, on one file and the same threads (ARGS="--rounds 5 --only G1,G3 --no-save")
	@scripts/bench-engine.sh $(ARGS)

bench-layers: ## measure layers of the shapes of models of 8 to 30 billion weights, and count what the whole models take (ARGS="--only Qwen3-8B")
	@scripts/bench-layers.sh $(ARGS)

check-metal: ## compile the engine with Metal and the node for Macs, without running anything (ends with 3 where it can't)
	@scripts/check-metal.sh

verify-model: ## compare a model's answers with transformers', token by token (ARGS="DIRECTORY --device cuda"; none: a made-up one)
	@scripts/verify-model.sh $(ARGS)

verify-peft: ## train adapters of small models, and compare what the trainer says with what PEFT makes of them
	@scripts/verify-peft.sh

prove-kill: ## 500 kills at random moments; the books must stay exact
	@scripts/prove.sh kill

prove-batches: ## a batch of 100,000 requests on two gateways, of which one is killed (TIDEGATE_BATCH_ITEMS)
	@scripts/prove.sh batches

prove-sim: ## a million seeds of exchanges (TIDEGATE_SIM_SEEDS), 10,000 of shared budgets (TIDEGATE_LEASE_SEEDS)
	@scripts/prove.sh sim

prove-policy: ## 10,000 generated workspaces, routes and policies against an oracle (POLICY_CASES=10000)
	@scripts/prove.sh policy

prove-outage: ## PostgreSQL away for ten minutes of traffic (TIDEGATE_OUTAGE_SECS=600)
	@scripts/prove.sh outage

prove-rotation: ## all keys change under 1,000 requests a second, and with kills
	@scripts/prove.sh rotation

prove-scale: ## a million stored requests: what pages ask, within 300 ms on both databases
	@scripts/prove.sh scale

prove-fleet: ## three gateways: 300 changes live within a second, 50 restarts without a failed request
	@scripts/prove.sh fleet

prove-regions: ## two own regions, one silent and then limiting, a minute each at 200 requests a second
	@scripts/prove.sh regions

prove-overload: ## a workspace at a hundred times its neighbour's load on one core; the neighbour's p99 moves by at most 5 %
	@scripts/prove.sh overload

prove-sockets: ## 10,000 clients that leave (TIDEGATE_LEAVING_CLIENTS), and 10,000 slow sockets of each kind (TIDEGATE_SLOW_SOCKETS)
	@scripts/prove.sh sockets

prove-reconciliation: ## a generated month of a million requests against the files that a provider makes of it; at most 0.1 % unexplained
	@scripts/prove.sh reconciliation

prove-replay: ## 1000 made-up candidates whose truth is known, judged by the gates of replays (TIDEGATE_REPLAY_CANDIDATES)
	@scripts/prove.sh replay

prove-state: ## an append to a session (2 ms), a purge of ten thousand events (2 s), an export (20 MB/s)
	@scripts/prove.sh state

prove-tasks: ## 100 kills during 1,000 tasks, and a queue of 10,000 (1,000/s)
	@scripts/prove.sh tasks

prove-runs: ## what a run that is waited for costs beside a chat request (1.3 times wanted)
	@scripts/prove.sh runs

prove-heartbeats: ## heartbeats of 10,000 nodes (TIDEGATE_NODES) on one gateway: CPU time and memory
	@scripts/prove.sh heartbeats

prove-placement: ## 200 simulated nodes (TIDEGATE_PLACEMENT_NODES): cache hits and times to the first token beside other placements
	@scripts/prove.sh placement

prove-tunnels: ## what a request through a tunnel costs beside a direct one (0.3 ms and 15 % of CPU more at most)
	@scripts/prove.sh tunnels

prove-peers: ## 200 MB from three peers of which one dies and one lies, and back through a link that loses and delays
	@scripts/prove.sh peers

prove-nodes: ## a gateway and five nodes in namespaces: 200 MB from peers (TIDEGATE_FLEET_MB), kills, partitions, drains, floods, revocations (TIDEGATE_FLEET_ROUNDS)
	@scripts/prove.sh nodes

prove-upgrade: ## three gateways from the version before the newest migration to this one, under load (TIDEGATE_BEFORE=0042: from the last of that schema)
	@scripts/prove.sh upgrade

dump: ## keep an installation of an older version, which `make test` opens from then on (SCHEMA=0062)
	@scripts/dump.sh $(SCHEMA)

prove-flakes: ## every test twenty times beside two busy processes (TIDEGATE_FLAKE_RUNS, TIDEGATE_FLAKES="test(/name/)"; hours)
	@scripts/prove.sh flakes

builtin-model: ## make the small built-in model anew from its text (ARGS=examine asks the one that is there; half an hour)
	@cargo run --locked -p engine --example builtin_model -- builtin $(ARGS)

fuzz: ## every parser under random input, a minute each (FUZZ_SECS=60)
	@scripts/prove.sh fuzz
