//! The paths of this API, each with what does it, or with what to use instead.

use crate::{accounts, credentials, devices, export, keys, nodes, runtimes, storage, usage};
use compat::table::{Instead, Row, delete, get, open, patch, post};

const PROMPTS: &str = "Keep prompts beside your code, and send them in the request; artifacts (POST /v2/artifacts) store them with versions.";
const ASSETS: &str = "Store the data with POST /v2/artifacts, and read the stored contents with GET /v2/datasets; docs/training.md says how to train on it.";
const EVALS: &str = "Score answers with POST /v2/scores, and have another model answer the same with POST /v2/requests/{id}/replay.";
const TRAIN: &str =
    "Send the conversations themselves: POST /v2/train/jobs, or `tidegate train start` (docs/training.md).";
const MACHINES: &str = "Rent the machine yourself, start `tidegate node` on it, and join it: `tidegate nodes invite` (docs/node.md).";
const AGENTS: &str = "Run the loop in your application, or call an app with POST /v1/run.";
const PRIVACY: &str = "Write a policy whose checks redact or block personal data in every request: POST /v2/policies (docs/policies.md).";
const VOICE: &str = "Open a realtime session at /v1/realtime?model=…, or transcribe a file with POST /v1/audio/transcriptions.";

/// What has no counterpart, whatever the method, with what to use.
pub(crate) const INSTEAD: &[Instead] = &[
    (&["workspace/prompts", "workspace/prompts/{rest}"], PROMPTS),
    (&["workspace/data-assets", "workspace/data-assets/{rest}"], ASSETS),
    (
        &[
            "lab/evals/{rest}",
            "lab/rsi/{rest}",
            "workspace/proposals",
            "workspace/proposals/{rest}",
            "hybrie/eval/{rest}",
        ],
        EVALS,
    ),
    (
        &[
            "lab/train",
            "lab/train/{rest}",
            "lab/projectors/{rest}",
            "hybrie/train/{rest}",
            "hybrie/compute/train/{rest}",
            "hybrie/compute/d2l/{rest}",
        ],
        TRAIN,
    ),
    (&["hybrie/compute/{rest}"], MACHINES),
    (
        &[
            "client-skills",
            "client-skills/{rest}",
            "dedicated-tasks",
            "dedicated-tasks/{rest}",
            "capabilities/{rest}",
            "chat-sessions",
            "chat-sessions/{rest}",
            "agent-executor/{rest}",
            "cli/runtime/{rest}",
        ],
        AGENTS,
    ),
    (&["privacy/{rest}", "hybrie/privacy/{rest}"], PRIVACY),
    (&["inference/audio/transcriptions/stream", "rooms", "rooms/{rest}", "compute/{rest}"], VOICE),
];

/// Every route below the root that does something.
pub(crate) const ROWS: &[Row] = &[
    get("users/me", &accounts::me),
    get("business-profiles", &accounts::workspaces),
    get("projects", &accounts::projects),
    post("projects", &accounts::make_project),
    get("workspace/api-keys", &keys::list),
    post("workspace/api-keys", &keys::make),
    patch("workspace/api-keys/{id}", &keys::change),
    delete("workspace/api-keys/{id}", &keys::revoke),
    get("workspace/byok", &credentials::list),
    post("workspace/byok", &credentials::add),
    post("workspace/byok/{id}/verify", &credentials::verify),
    delete("workspace/byok/{id}", &credentials::remove),
    get("usage/summary", &usage::summary),
    get("usage/events", &usage::events),
    get("billing/hybrie/snapshot", &usage::snapshot),
    get("workspace/traces", &export::list),
    get("workspace/traces/export", &export::export),
    open("cli/device/code", &devices::begin),
    open("cli/device/token", &devices::poll),
    get("cli/tokens", &devices::tokens),
    delete("cli/tokens/{id}", &devices::revoke_token),
    post("cli/inference/session-key", &keys::make_session_key),
    post("cli/inference/session-key/revoke", &keys::revoke_session_key),
    post("devices/register", &nodes::register),
    post("devices/{id}/heartbeat", &nodes::beat),
    get("tenant-objects", &storage::list),
    post("tenant-objects", &storage::register),
    post("tenant-objects/upload-url", &storage::upload),
    get("tenant-objects/folders", &storage::folders),
    post("tenant-objects/{id}/access-url", &storage::link),
    delete("tenant-objects/{id}", &storage::remove),
    get("hybrie/models", &runtimes::models),
    get("hybrie/adapters", &runtimes::adapters),
    get("hybrie/adapters/{id}", &runtimes::adapter),
    post("hybrie/adapters/{id}/load", &runtimes::load),
    post("hybrie/adapters/{id}/unload", &runtimes::unload),
    get("hybrie/compute/peers", &nodes::list),
    post("hybrie/compute/peers", &nodes::add),
    delete("hybrie/compute/peers/{id}", &nodes::remove),
    get("hybrie/train/jobs", &runtimes::jobs),
    get("hybrie/train/jobs/{id}", &runtimes::job),
    delete("hybrie/train/jobs/{id}", &runtimes::cancel),
    get("lab/train/jobs", &runtimes::jobs),
    get("lab/train/jobs/{id}", &runtimes::job),
    delete("lab/train/jobs/{id}", &runtimes::cancel),
];
