//! The one table of fault codes, on which programs match: each with its meaning, as `docs/errors.md` lists them.

/// Each code and its meaning, sorted by code. A new code needs a row here: `cargo xtask tidy` looks for it.
pub const FAULT_CODES: &[(&str, &str)] = &[
    ("access_denied", "The device's sign-in is refused. Begin again if that is a mistake."),
    (
        "adapter_exists",
        "An adapter or a training job has this name. Choose another name, or send `replace: true`.",
    ),
    (
        "adapter_is_local",
        "No backend of the node has the adapter. Leave it out, or have the request answered by the node.",
    ),
    ("adapter_limit", "The node has no room for another adapter. Unload some, or give the node more room."),
    ("adapter_not_found", "The node has no adapter of this name. `GET /v1/adapters` lists them."),
    (
        "adapter_not_loaded",
        "An adapter of the timeline is not in memory. Load it with `POST /v1/adapters/warmup`.",
    ),
    ("adapter_outside", "The path leads out of the node's adapter folder. Name a directory inside it."),
    (
        "agent_not_found",
        "The project has no such agent, or the agent no such version. `GET /v2/agents` lists them.",
    ),
    ("agent_output_invalid", "The answer of an agent does not fit its schema, also when asked again."),
    (
        "agent_steps_used_up",
        "An agent used up its steps without an answer. Raise its limit, or ask for less at once.",
    ),
    (
        "agent_waited_too_long",
        "Nobody answered a call of an agent before its turn expired. Send the message again.",
    ),
    ("already_exists", "An object with this id or name exists."),
    ("already_member", "A member of the workspace, or somebody who is invited, has this email."),
    (
        "ambiguous_session",
        "The request carries two session cookies. Delete the site's cookies and sign in again.",
    ),
    ("answer_too_large", "The answer is too long to be sent whole. Ask for fewer tokens, or stream it."),
    (
        "app_failed",
        "The app's server answered with an error, or the tool failed. The message has what it said.",
    ),
    (
        "app_input_refused",
        "The input of the app makes no request: a field that stands in the path is missing, or leads elsewhere.",
    ),
    ("app_not_found", "There is no app of this name that the key may run. `GET /v1/apps` lists them."),
    (
        "app_output_invalid",
        "What the app's server answered does not fit the output schema. Correct one of them.",
    ),
    ("app_refused", "The app's address is private, or its server redirects. Change the url of the app."),
    ("app_timeout", "The app's server did not answer within a minute."),
    ("app_unreachable", "The app's server can't be reached, broke off, or sent more than is read."),
    ("artifact_revoked", "The content of the artifact was deleted, or its time is over. Store it again."),
    (
        "authority_form",
        "The request line names a host instead of a path. The gateway is not a forward proxy.",
    ),
    ("authorization_pending", "Nobody has approved the device yet. Ask again after `interval_s`."),
    ("backend_refused", "A backend of the node refuses the request. The message has the backend's own."),
    (
        "backends_failed",
        "None of the node's backends answered. The message says what each did, and why the node did not.",
    ),
    (
        "background_needs_own_credential",
        "Answers in the background need a credential of your own. Leave `background` out, or add one.",
    ),
    ("bare_line_feed", "A line of the request's head ends with a bare line feed. End each line with CRLF."),
    (
        "base_changed",
        "The model's files are no longer those that the training began with. Begin the job again.",
    ),
    ("base_url_needs_secret", "A new `base_url` needs the secret again. Send both together."),
    ("base_url_refused", "The base URL is malformed, or the gateway's settings forbid its address."),
    (
        "batch_item_failed",
        "In records: the provider reports that this request of a batch failed, without a code.",
    ),
    ("batch_item_unreadable", "In records: the result of this request of a batch can't be read."),
    (
        "batch_items_waiting",
        "So many requests of the project's batches wait already. Send the batch when others have ended.",
    ),
    (
        "batch_needs_own_credential",
        "A batch needs a credential of your own, and so does the file that it reads.",
    ),
    ("batch_not_booked", "The batch still runs, or its usage is not recorded yet. Delete it in a moment."),
    ("batch_not_ended", "The batch has requests that have not ended. Cancel it, and delete it then."),
    ("batch_not_found", "The project has no batch of this id."),
    (
        "batch_not_tried",
        "In records: the batch's results have neither an output nor an error for this request.",
    ),
    ("batch_of_file", "A batch here can't read its requests from a file. Send them inline."),
    ("batch_of_folder", "A batch reads one `.jsonl` file, not a folder. Make a job for each file."),
    (
        "batch_of_several_credentials",
        "No single credential serves all models of the batch. Send one for each provider.",
    ),
    ("batch_outside_storage", "The batch reads or writes outside the credential's `config.batch_storage`."),
    (
        "batch_role_not_allowed",
        "The credential allows its batches another role. Name this one in `config.batch_role`.",
    ),
    ("batch_storage_not_set", "No credential that serves the model has `config.batch_storage`. Set it."),
    ("batches_not_taken", "No provider that serves this model here takes batches of it."),
    ("body_cut", "The body ends before it is complete. Send it again."),
    ("body_incomplete", "The body ends early or is badly framed. Check `Content-Length` or the chunks."),
    ("body_too_large", "The body is larger than this path takes. Send less at a time."),
    ("book_not_written", "The node can't write its training jobs. Check the disk of its data directory."),
    ("branch_full", "The branch of the session takes no more events. Open another session."),
    (
        "branch_version_conflict",
        "Another writer appended to the branch first. Read its events, and append to that version.",
    ),
    (
        "budget_unavailable",
        "The budget can't be checked while its database is away. Send it again in a moment.",
    ),
    (
        "cache_storage_unpriced",
        "A managed account has no price for storing the cached prompt. Use a credential of your own.",
    ),
    (
        "cached_content_not_found",
        "The cached prompt was deleted, has expired, or is another project's. Create it again.",
    ),
    (
        "cached_contents_unsupported",
        "No provider that serves this model here caches prompts by name. Send the prompt with each request.",
    ),
    (
        "capability_not_supported",
        "By the capability manifest, the provider can't do what the request asks for. Leave it out, or use another.",
    ),
    (
        "capability_revision_not_found",
        "No capability manifest of this revision was served here. Take one that `…/revisions` lists.",
    ),
    ("chat_not_found", "There is no such chat. `POST /agents/run` without one begins a chat."),
    ("client_cancelled", "The client left, or cancelled the answer, before its end."),
    (
        "compaction_failed",
        "The model's answer has no summary, or it can't be sealed. Send the request again, or name another model.",
    ),
    (
        "compaction_unreadable",
        "The compaction item was changed, is another project's or provider's, or its key is gone. Send the items before it.",
    ),
    ("conflict", "The provider reports a conflict. Send the request again."),
    ("content_filter", "The provider refuses the content. Change it."),
    (
        "content_not_accepted",
        "The body has a field for a prompt or an answer. Leave it out: traces are counts and times.",
    ),
    (
        "content_not_kept",
        "No content of the request is kept, or its time is over. `/v2/retention-profile` says what is.",
    ),
    (
        "content_too_large",
        "The content is larger than a single value may be. Store it as an artifact, or split it.",
    ),
    (
        "content_unreadable",
        "Stored content was changed, or its key is not here. Restore the database or the keys.",
    ),
    (
        "context_length_exceeded",
        "The prompt is longer than the model's context. Shorten it, or use another model.",
    ),
    (
        "conversation_item_not_found",
        "The conversation has no such item. Use an id that its list of items has.",
    ),
    (
        "conversation_not_found",
        "The project has no such conversation. Make one with `POST /v1/conversations`.",
    ),
    (
        "credential_incomplete",
        "The credential's `config` lacks a field that its kind of secret needs. Add it.",
    ),
    ("credential_revoked", "The credential is revoked and stays so. Add a new one."),
    ("credential_unreadable", "The stored secret can't be opened. Rotate the credential with a new secret."),
    (
        "credential_unusable",
        "The secret is malformed, its file can't be read, or its provider takes another kind.",
    ),
    ("credits_required", "The workspace's credit does not cover the request. Ask the operator to add some."),
    ("cross_origin", "The request comes from a web page of another origin. Send it with a key."),
    ("csrf_refused", "The request lacks its session's `X-Tidegate-CSRF` token. `GET /v2/me` has it."),
    (
        "data_export_not_over",
        "The export is not over, so it has no archive. Get it until its status is `completed`.",
    ),
    (
        "data_plane_revoked",
        "The data plane is revoked at its control plane: it serves nothing any more. Join it again with a token of `tidegate data-planes invite`.",
    ),
    (
        "data_plane_token_expired",
        "The token of the data plane is too old. Make another with `tidegate data-planes invite`.",
    ),
    (
        "data_plane_token_used",
        "A data plane has joined with the token. Make another with `tidegate data-planes invite`.",
    ),
    ("database_unavailable", "The database does not respond. Send the request again in a moment."),
    (
        "deadline_exceeded",
        "The request is not finished by its deadline. Ask for less, or raise `deadline_ms`.",
    ),
    ("delivery_running", "The webhook delivery is being sent right now, so it can't be sent again."),
    (
        "document_refused",
        "The document's address may not be fetched. Use a public https address or a `data:` URI.",
    ),
    ("document_too_large", "The document is too large. Send a shorter one."),
    (
        "document_unreachable",
        "The document can't be fetched. Check its address, or send it as a `data:` URI.",
    ),
    ("draining", "The gateway shuts down and closes the realtime session. Open it again."),
    ("duplicate_content_length", "`Content-Length` is given more than once. Give it once."),
    ("duplicate_field", "A field is given twice. Send it once."),
    ("duplicate_parameter", "A query parameter is given twice. Send it once."),
    (
        "duration_reached",
        "The training is not done within `max_duration_hours`. Allow more, or train on less.",
    ),
    ("email_taken", "Another member of a workspace of yours has this email."),
    ("empty_array", "The list is empty. Send at least one element."),
    ("empty_body", "The request has no body. Send one JSON object."),
    ("empty_prompt", "The prompt, or one of the texts, has no token. Send some text."),
    ("engine_failed", "The node's engine failed. Look at the node's log, and send the request again."),
    ("expired_api_key", "The API key has expired. Use another key, or make one."),
    ("expired_token", "The device code is unknown, used or too old. Begin again."),
    (
        "field_behind_file",
        "A field of the form follows the file. Send it before the file, or in the address.",
    ),
    (
        "file_damaged",
        "The content of the file does not open: it was changed where it is stored, or its key is gone. Upload it again.",
    ),
    (
        "file_incomplete",
        "The content of the file has not arrived whole. Send the rest of it to its upload_url.",
    ),
    (
        "file_kept_elsewhere",
        "The credential that stores the file can't serve this model. Upload it for this model.",
    ),
    ("file_not_found", "There is no file of this id. Upload it with `POST /v1/files`."),
    (
        "file_store_unavailable",
        "The store of files does not answer or takes nothing. Try again; what has arrived is kept.",
    ),
    ("file_too_large", "The file is larger than was declared, or than files may be here."),
    ("file_type_mismatch", "The file is not what its content_type says. Send its own type, or none."),
    (
        "files_kept_apart",
        "Different credentials store the files, or made the previous response. Upload them again.",
    ),
    ("files_not_kept", "The named provider, or each one that serves this model here, stores no files."),
    ("files_not_written", "The node can't write its files. Check the disk of its data directory."),
    (
        "flow_engine_unavailable",
        "The engine that runs flows does not answer, so none starts. Start the run again later.",
    ),
    (
        "flow_invalid",
        "The flow's document does not hold: `errors` say where and why. `POST /v2/flows/validate` checks one.",
    ),
    (
        "flow_run_ended",
        "The run has ended, so nothing of it can be changed. Start another, or retry it from a step.",
    ),
    ("flow_run_not_ended", "The run has not ended. Wait until it has, or cancel it."),
    ("flow_runs_waiting", "So many runs of the project have not ended. Start this one when others have."),
    ("flow_step_not_waiting", "The step waits for no approval, or has one already."),
    ("folded_header", "A header is folded over several lines. Send it on one line."),
    ("fork_beyond_branch", "The branch has fewer events than the fork is to share. Fork it at its version."),
    ("forked_too_often", "The branch is too many forks away from the first. Open another session."),
    ("gateway_lacks_master_key", "A gateway lacks the current master key. Give it the key, or stop it."),
    ("gateway_overloaded", "The gateway gets more requests than it can serve. Send it again in a second."),
    ("generation_broken", "The node's runtime broke off its answer. Send the request again."),
    ("headers_too_large", "The request's headers are too large. Send fewer or shorter ones."),
    ("headers_too_slow", "The request's headers arrive too slowly. Send them at once."),
    (
        "hints_forbid",
        "The request's own hints allow nothing that could serve it. Allow more under `routing`.",
    ),
    (
        "history_not_carried",
        "The session's history can't be sent in this dialect. Continue it with `POST /v2/responses`.",
    ),
    (
        "host_identity_not_allowed",
        "The workspace may not use the machine's identity, which belongs to its operator.",
    ),
    ("host_not_local", "Without a key, the node responds to local host names only. Send a key."),
    (
        "hosted_tool_unpriced",
        "A tool that the provider runs has no known price. Use a credential of your own.",
    ),
    ("idempotency_conflict", "The idempotency key was used with another body. Use a new key."),
    (
        "idempotency_in_flight",
        "A request with this idempotency key is still running. Send it again in a moment.",
    ),
    (
        "idempotency_unavailable",
        "The idempotency key can't be checked now, so nothing was sent. Send it again.",
    ),
    (
        "idempotent_answer_unreadable",
        "The stored answer for this idempotency key can't be opened. Use a new key.",
    ),
    ("incomplete_signature", "The request's signature lacks a part. Sign with Signature Version 4."),
    ("insufficient_quota", "The provider's account has no credit or quota left. Top it up."),
    ("insufficient_role", "Your role in the workspace does not allow this. Ask an owner or admin."),
    ("insufficient_scope", "The API key lacks the scope that this needs. Use a key that has it."),
    ("integer_below_min_value", "A whole number is too small. The message has the least that is allowed."),
    ("internal_error", "Tidegate itself failed. Send it again; if it fails again, report the request id."),
    ("interrupted", "In records: the gateway stopped before the request ended."),
    ("invalid_adapter", "The files are no adapter for this model. Use a LoRA as PEFT writes it."),
    ("invalid_api_key", "The API key is malformed, mistyped or unknown. Copy it again, or make another."),
    ("invalid_body", "The body is not the JSON object that this path takes."),
    ("invalid_content_encoding", "The body is not encoded as `Content-Encoding` says."),
    ("invalid_content_length", "`Content-Length` is not a number."),
    ("invalid_cursor", "The cursor is not one of this list. Use `next_cursor` of the last page, or none."),
    ("invalid_execution_mode", "`x-hybrie-execution-mode` is not local, cloud or hybrid. Send local."),
    (
        "invalid_export",
        "The provider's export can't be read. The message names the line and the column, or the format.",
    ),
    ("invalid_filter", "The filter is not valid. The message says why."),
    ("invalid_form", "The body is not a valid multipart form. Let a library write it."),
    ("invalid_header", "A header line is malformed, or `If-Match` has no ETag of this API."),
    ("invalid_host", "The request does not name exactly one host. Send one `Host` header."),
    (
        "invalid_idempotency_key",
        "The idempotency key is empty, too long or not plain text, or two keys differ.",
    ),
    ("invalid_json", "The body is not valid JSON. Send one JSON object."),
    ("invalid_peer", "The peer can't be added. The message says which field is wrong."),
    ("invalid_range", "The `Content-Range` of a part is wrong, or does not fit its body or its file."),
    ("invalid_request_line", "The request line is malformed."),
    ("invalid_scope", "`scope` is not local, cloud or all. Send local, or leave it out."),
    ("invalid_session_id", "`x-hybrie-session-id` is empty, too long or not plain text."),
    ("invalid_signature", "The signature is wrong. Check the secret, and that nothing changes the request."),
    ("invalid_tool_arguments", "The arguments of a tool call are no JSON object. Send what the model wrote."),
    ("invalid_training_data", "Lines of the training data can't be used. The message names them."),
    ("invalid_transfer_encoding", "`Transfer-Encoding` is not exactly `chunked` on HTTP/1.1."),
    ("invalid_type", "A field has the wrong JSON type. The message has the expected one."),
    ("invalid_utf8", "The body is not valid UTF-8."),
    ("invalid_value", "A field has a value that is not allowed. The message says why."),
    ("ip_not_allowed", "The API key does not allow requests from this address. Change its `ip_allowlist`."),
    ("item_not_found", "The project keeps no item of the id that the input refers to. Send the item itself."),
    ("job_is_not_over", "The training job has not ended. Cancel it first."),
    ("job_is_over", "The training job has ended already."),
    ("job_not_found", "The node has no training job of this id. `GET /v1/train/jobs` lists them."),
    ("join_token_expired", "The join token is too old. Make another with `tidegate nodes invite`."),
    ("join_token_used", "A node has used the join token. Make another with `tidegate nodes invite`."),
    ("json_too_deep", "The body's JSON is nested too deeply."),
    ("json_too_many_keys", "The body's JSON has too many members."),
    (
        "keeper_unavailable",
        "The credential or account that stores the file, batch, video or cached prompt can't be used now.",
    ),
    ("kept_elsewhere", "A shared account does not fetch what the request names. Send the content itself."),
    ("last_owner", "The member is the workspace's last owner. Make another member an owner first."),
    (
        "legal_hold",
        "A legal hold keeps the content from being deleted. Release it with `tidegate hold release`, or leave the content.",
    ),
    ("length_and_transfer_encoding", "`Content-Length` and `Transfer-Encoding` are both given. Send one."),
    ("link_over", "The sign-in link is used or too old. Get another: `tidegate login --link`."),
    (
        "local_only",
        "The node answers this request here or not at all: it is strictly local, or the request came through a gateway. Leave out what asks for the cloud.",
    ),
    (
        "loop_detected",
        "The request came back to a node that had forwarded it, or passed too many nodes. Correct the backends of the nodes.",
    ),
    (
        "managed_by_control",
        "The gateway is a data plane, and its control plane has this configuration. Send the request there.",
    ),
    ("master_key_retired", "The master key was replaced meanwhile. Send the request again."),
    ("master_key_used", "The master key is or was in force. Choose a new one."),
    (
        "mcp_authorization_failed",
        "The authorization server of an MCP server can't be used, or refuses. Its message says why; begin the sign-in again.",
    ),
    (
        "mcp_authorization_needed",
        "A person must sign in for the MCP server: `tidegate mcp-server authorize` begins it.",
    ),
    (
        "mcp_server_unavailable",
        "The MCP server can't be reached, or offers no tools. `POST /v2/mcp-servers/ID/refresh` says what is wrong.",
    ),
    ("mcp_server_without_oauth", "The MCP server is called without OAuth. Change its `auth` first."),
    (
        "mcp_sign_in_over",
        "The sign-in for an MCP server has ended, took too long, or was begun by somebody else. Begin it again.",
    ),
    (
        "member_has_keys",
        "API keys that the member made still work. Say with `keys` whether to keep or revoke them.",
    ),
    ("message_not_queued", "The message does not wait for its turn any more. Stop the chat to end its turn."),
    ("method_not_allowed", "The path exists, but does not take this method."),
    ("missing_api_key", "The request carries no API key. Send `Authorization: Bearer tg_...`."),
    ("missing_field", "A required field is missing. The message names it."),
    ("missing_model", "The address names no model. Open `/v1/realtime?model=NAME`."),
    ("missing_required_parameter", "A required parameter is missing. The message names it."),
    ("model_ambiguous", "The name stands for several models. Write the full name."),
    ("model_modality", "The model is of another kind than this path is for. Name a model of that kind."),
    (
        "model_not_declared",
        "The owner of the node declared its models at the gateway, and this is none of them. Declare it, or declare none.",
    ),
    ("model_not_found", "There is no model of this name. `GET /v1/models` lists the models."),
    (
        "model_not_served",
        "Nothing in this workspace serves the model. The message says why, the fix what to add.",
    ),
    ("name_taken", "Another object has this name. Choose another name."),
    ("no_adapter_folder", "The node has no folder of adapters. Start it with `--adapters`."),
    ("no_adapters", "The node's runtime takes no adapters. Start a node with a model of the engine."),
    ("no_address", "The provider's address is not known. Set its `base_url`."),
    ("no_chat_template", "The model has no template for conversations. Send text to `/v1/completions`."),
    (
        "no_counterpart",
        "Nothing here does what this call of another product's client asks for. The message says what does.",
    ),
    ("no_mesh", "The node is in no mesh of peers. Start it with `--peer-listen`."),
    (
        "no_next_master_key",
        "The gateway has no new master key, or several. Add one, or name one as `key_id`.",
    ),
    ("no_project", "The workspace has no project for the device's key. Make one, then begin again."),
    ("no_runtime", "The workspace has no Tidegate node, or the named node is another server."),
    ("no_such_tariff", "There is no tariff of this name."),
    (
        "node_credential_revoked",
        "The node's credential is revoked. Join again with a token of `tidegate nodes invite`.",
    ),
    ("node_ends", "The node shuts down before it has read the data. Send it again once it runs."),
    ("node_failed", "In records: the node reports that the request failed."),
    ("node_key_missing", "The node has not sent its public key. Let it send a heartbeat first."),
    ("node_key_unproven", "The request for a certificate is not signed with the key that it names."),
    ("node_refused", "The node refuses the request. The message is the node's own."),
    (
        "node_unreachable",
        "No node that serves the model responds. Start one; `tidegate nodes list` shows them.",
    ),
    ("node_unreadable", "The node's response can't be read. It may be of another version."),
    ("not_a_sign_in", "The key was not made by signing in. Revoke it with `tidegate key revoke`."),
    ("not_acceptable", "Responses are JSON, and `Accept` does not allow that."),
    ("not_asked", "The gateway could not call the node. Its log says why."),
    ("not_enough_memory", "The node has too little memory for the adapter or the training."),
    ("not_found", "There is no such object in this workspace, or no such path."),
    ("not_in_force_yet", "The change is saved, but not in force yet. Read it back; don't send it again."),
    ("not_joined", "The node did not join by itself, so it has no credential to revoke."),
    ("not_of_this_version", "The node does not serve this. `GET /v1/capabilities` says what it serves."),
    ("not_served_yet", "The path is part of the API, but comes with a later release."),
    ("not_verified", "The gateway could not try the credential. Its log says why."),
    ("nothing_to_finalize", "No change of the master key waits to be finalized."),
    (
        "nothing_to_promote",
        "The newest release is active already, and there is no canary. Install a release.",
    ),
    ("nothing_to_roll_back", "The alias has no canary, and never had another active release."),
    ("openapi_not_imported", "The OpenAPI document can't be imported. The message says where and why."),
    ("operators_workspace", "The workspace whose owners run the installation can't be deleted."),
    (
        "other_node_key",
        "The node's credential belongs to another key than the request's. Restore `node.key`, or join again.",
    ),
    ("packed_body_too_costly", "Unpacking the body takes too much work. Send it plain."),
    (
        "peers_failed",
        "The node can't serve the request, and none of the peers that could did. The message says what each did.",
    ),
    ("person_needed", "Only a signed-in person may do this, not a key. Sign in at the console."),
    ("policy_exists", "The project or workspace has a policy already. Change that one."),
    (
        "policy_expired",
        "The data plane or node has not heard from its control plane for longer than it may. Restore their connection.",
    ),
    (
        "policy_forbids",
        "The policy of the project or of its workspace forbids this. The message and `agent-policy-rule` name the rule.",
    ),
    (
        "policy_loosens",
        "A project's policy allows what its workspace's does not. Keep within the workspace's, or have it changed first.",
    ),
    (
        "previous_response_not_found",
        "The project has no stored response of this id. Send the whole conversation.",
    ),
    (
        "previous_response_unavailable",
        "The credential that made the previous response can't continue it. Send the whole conversation.",
    ),
    ("project_not_empty", "Live keys, credentials or routes belong to the project. End them first."),
    ("provider_unclear", "Several providers could store this file. Name one as `provider`."),
    ("purge_by_end_user", "Records do not hold end users. Purge by request, project, key or time."),
    ("purge_not_counted", "A place could not be asked what it holds. Try again in a moment."),
    (
        "purge_not_over",
        "The purge is not over, so it has no receipt. Get it until its status is `completed`.",
    ),
    ("queue_full", "Too many requests wait for the node's model. Send it again in a moment."),
    ("quota_exceeded", "A budget that is set in Tidegate is used up. Raise it, or wait for its next period."),
    (
        "rate_limit_exceeded",
        "A rate limit, of the gateway or the provider, is reached. Wait as `Retry-After` says.",
    ),
    ("realtime_broken", "The provider broke off the realtime session. Open it again."),
    ("realtime_idle", "Nothing was sent in the realtime session for too long. Open it again."),
    ("realtime_not_supported_for_model", "The model has no realtime sessions. Name a realtime model."),
    ("realtime_not_text", "On a managed account, realtime events are text messages. Send text."),
    ("realtime_response_failed", "The provider reports that a realtime response failed."),
    ("realtime_response_refused", "The provider refuses to make a realtime response."),
    ("realtime_responses", "The realtime session has too many responses under way. Wait for one to end."),
    (
        "realtime_seat_gone",
        "The session's credential or account may no longer be used. Open the session again.",
    ),
    (
        "realtime_transcription_unmetered",
        "On a managed account, realtime input is not transcribed. Leave it out.",
    ),
    ("referenced", "Another object refers to this one, or what it refers to is gone."),
    ("release_immutable", "A release of an alias never changes. Install another, and promote it."),
    (
        "replay_required",
        "The change moves requests onto a node. Run `POST /v2/replay-runs` with the node as the candidate, and send it again.",
    ),
    ("replay_run_over", "The replay run is over, so it can't be cancelled. Read its report."),
    ("request_too_large", "The request is larger than the path or the provider takes. Send less."),
    ("request_too_slow", "The body arrives too slowly. Send it without long pauses."),
    (
        "requirements_not_met",
        "The app needs a secret, a credential or a scope that is missing. `errors` says how each is added.",
    ),
    ("response_finished", "The answer is complete, so it can't be cancelled. Read it, or delete it."),
    ("response_not_found", "The project has no such response, or its provider no longer has it."),
    (
        "response_not_in_background",
        "The response was not made in the background, so there is nothing to cancel.",
    ),
    ("response_running", "The answer is not complete yet, so it can't be deleted. Cancel it first."),
    ("response_unavailable", "The credential or account that made the response can't be used now."),
    ("revoked_api_key", "The API key is revoked. Use another key, or make one."),
    ("rotation_not_finalized", "The last change of the master key is not finalized. Finalize it first."),
    ("rotation_under_way", "The key is being replaced already."),
    (
        "route_conditions_overlap",
        "A request can meet the conditions of two routes of one scope. Make them exclude each other.",
    ),
    ("route_scope_taken", "Another route has this scope. Change that one, or narrow this one's scope."),
    (
        "route_version_not_found",
        "The route has no such version, or it is no longer kept. Take one of its versions.",
    ),
    ("sealing_key_replaced", "The workspace's key was replaced meanwhile. Send the request again."),
    ("secret_version", "Another rotation of the secret came first. Read the object again."),
    ("server_is_overloaded", "The provider is overloaded. Send the request again later."),
    ("service_tier_unpriced", "The service tier has no known price. Use a credential of your own."),
    (
        "session_app_mismatch",
        "A warm session runs the app that it began with. Begin another one with \"new\".",
    ),
    ("session_archived", "The session is archived. Set its status to active, or open another."),
    ("session_ended", "The warm session was ended. Begin another one with \"new\"."),
    (
        "session_expired",
        "The warm session was idle for longer than its timeout. Begin another one with \"new\".",
    ),
    ("session_not_found", "The project has no such session, or its time is over. Open one."),
    ("session_over", "The session has ended or is unknown. Sign in again."),
    ("shutting_down", "The gateway is shutting down. Send the request again in a second."),
    ("sign_in_busy", "Too many people sign in right now. Try again in a moment."),
    ("sign_in_failed", "The email or the password is wrong."),
    (
        "sign_in_first",
        "The link is for somebody who signs in here already. Sign in first, then open it again.",
    ),
    ("signature_expired", "The time of the signature is too far off. Set the clock, and sign again."),
    ("slow_down", "The device asks too often. Wait `interval_s` between two requests."),
    ("snapshot_too_long", "The branch has more events than a snapshot lists. Append a checkpoint."),
    ("storage_full", "The gateway can't write: its disk is full or fails. Free space, then send it again."),
    ("store_unavailable", "Stored objects can't be looked up or changed now. Send it again in a moment."),
    ("subscription_expired", "The subscription's access token has expired and could not be renewed."),
    ("subscriptions_off", "The operator has not switched subscriptions on (`TIDEGATE_SUBSCRIPTIONS=1`)."),
    ("task_content_gone", "The input of the task was purged, so it can't run. Send it again."),
    ("task_finished", "The task has ended, so it can't be cancelled. Read it, or delete it."),
    (
        "task_interrupted",
        "The task's gateway ended each time that it ran. Make it again with `POST /tasks/ID/retry`.",
    ),
    (
        "task_not_finished",
        "The task has not ended, so it can't be deleted or made again. Wait, or cancel it.",
    ),
    (
        "task_not_found",
        "There is no such task. Tasks are stored for a day after they end, or as long as their client said.",
    ),
    (
        "task_too_large",
        "The input or the answer is longer than a task keeps. Call the model itself, or ask for less.",
    ),
    ("tasks_waiting", "So many tasks of the project wait already. Send the task when others have ended."),
    ("template_refused", "The model's template does not take this conversation. The message says why."),
    ("text_has_nul", "A text has the character U+0000, which can't be stored."),
    (
        "token_file_not_allowed",
        "Tokens may not be read from this file. The operator sets `TIDEGATE_TOKEN_FILES`.",
    ),
    ("token_unreadable", "The service that exchanges the secret for a token gives no readable answer."),
    ("too_many_agents", "The project has as many agents as it may have, or the agent as many versions."),
    ("too_many_aliases", "The workspace has as many aliases as it may have."),
    ("too_many_at_once", "The node reads as many data sets as it can at once. Send it again in a moment."),
    ("too_many_attempts", "There were too many attempts. Wait, then try again."),
    ("too_many_branches", "The session has as many branches as it may have. Open another session."),
    ("too_many_devices", "Too many devices wait for approval. Clients get `too_many_attempts` instead."),
    (
        "too_many_files",
        "The request names too many files, or the project or the node stores no more of them.",
    ),
    ("too_many_hints", "The workspace has as many stored hints as it may have."),
    ("too_many_jobs", "The node keeps no more training jobs. Delete one that has ended."),
    ("too_many_models", "The batch names too many models. Send several batches."),
    ("too_many_releases", "The alias has as many releases as it may have. Create another alias."),
    ("too_many_requests_in_batch", "The batch has too many requests. Send several batches."),
    (
        "too_many_scores",
        "The request has as many scores as one may have. Score it under a name that it has already.",
    ),
    ("too_many_stop_sequences", "The model takes fewer stop sequences. The message says how many."),
    ("too_many_tools", "The request, or the project, has as many tools as it may have."),
    (
        "too_many_tunnels",
        "The workspace has too many nodes with tunnels to this gateway. Give some of them an address.",
    ),
    ("too_many_webhooks", "The workspace has as many webhooks as it may have."),
    ("too_much_data", "The data is larger than one training job takes. Train in several jobs."),
    (
        "tool_call_not_waiting",
        "The call waits for nothing that can be sent here. The chat lists those that wait.",
    ),
    ("tool_call_without_result", "A tool call has no result in the next turn. Send one for each call."),
    (
        "tool_digest_changed",
        "The MCP server lists the tool otherwise than the digest says. Read it again, and accept that.",
    ),
    ("tool_name_taken", "Two tools of the request have one name. Rename one, or leave one out."),
    ("tool_not_found", "The project has no such tool or MCP server that is switched on."),
    (
        "tool_result_without_call",
        "A tool result belongs to no call before it. Send each result after its call.",
    ),
    ("tool_step_refused", "A later step of the loop of model and tools was refused. The message says why."),
    ("training_diverged", "The training diverges. Train with a lower learning rate."),
    ("training_failed", "The training failed. Start the job again; if it fails again, report the message."),
    ("training_files", "The node can't read or write the job's files. Check its disk, and start again."),
    ("training_not_served", "The node does not train. Start one with a model of its own and `--data-dir`."),
    (
        "tunnel_refused",
        "The node did not prove who it is when it opened a tunnel. The message says what does not hold.",
    ),
    (
        "tunnel_required",
        "The path takes tunnels, over HTTP/1.1 with `Upgrade: tidegate-tunnel`. Run `tidegate node --tunnel`.",
    ),
    (
        "tunnel_version",
        "The node and the gateway speak no common version of the tunnel. Update the older of the two.",
    ),
    (
        "unknown_data_plane_credential",
        "No data plane has this credential. Join again with a token of `tidegate data-planes invite`.",
    ),
    (
        "unknown_data_plane_token",
        "The token of the data plane is unknown. Name the control plane that made it.",
    ),
    ("unknown_field", "The field is not known. Correct its name, or leave it out."),
    ("unknown_hints", "`Agent-Hints-Ref` names stored hints that the workspace does not have."),
    ("unknown_http_version", "The HTTP version is not supported. Use HTTP/1.1 or HTTP/2."),
    (
        "unknown_join_token",
        "The join token is unknown. Copy it whole, and name the control plane that made it.",
    ),
    (
        "unknown_node_credential",
        "No node has this credential. Join again with a token of `tidegate nodes invite`.",
    ),
    ("unknown_parameter", "The query parameter is not known. Leave it out."),
    ("unknown_path", "There is nothing at this path."),
    ("unknown_version", "`Tidegate-Version` names no version of this API. Leave it out."),
    ("unreadable", "The request is too deep or has too many members for a shared account. Simplify it."),
    ("unreadable_text", "The model's tokenizer can't read the text. Send UTF-8."),
    ("unsupported_content", "The model reads text alone. Send text parts only."),
    (
        "unsupported_content_encoding",
        "The body's encoding is not supported. Send gzip, deflate, br, zstd or plain.",
    ),
    ("unsupported_field", "A run, or `/v2/responses`, can't honour this field. Leave it out."),
    (
        "unsupported_header",
        "`Agent-Trace-Mode` asks for more than the project keeps of its requests. Leave it out.",
    ),
    ("unsupported_media_type", "The path does not take a body of this content type."),
    ("unsupported_operation", "The model, or its provider, can't do this. Use another model."),
    (
        "unsupported_parameter",
        "The model, its provider or the node does not take the parameter. Leave it out.",
    ),
    (
        "unsupported_rule",
        "The node can't enforce this constraint on its answer. Send a simpler one, or none.",
    ),
    (
        "unsupported_tool_name",
        "The provider does not take this name for a tool. Use letters, digits, `_` and `-`.",
    ),
    ("unsupported_value", "The model, or its provider, does not take this value. The message says why."),
    ("untrusted_host", "People can't sign in under this host name. The operator sets `TIDEGATE_PUBLIC_URL`."),
    ("upload_not_found", "This address takes no content: it was used, or its time is over. Make a new file."),
    (
        "upload_offset",
        "The part does not begin where the last one ended. Ask how far it is, and go on from there.",
    ),
    (
        "upload_part_too_small",
        "The first part of a file is too short to show what it is. Send parts of a megabyte or more.",
    ),
    (
        "upload_superseded",
        "Another request sends the content of the file. Use one at a time, and ask how far the file is.",
    ),
    (
        "upstream_address_refused",
        "The gateway's settings forbid the provider's address. Change the base URL.",
    ),
    ("upstream_answer_broken", "The provider's answer breaks off or can't be used. Send the request again."),
    ("upstream_auth_failed", "The provider or node refuses the credential. Rotate it."),
    ("upstream_bad_request", "The provider refuses the request as wrong. Its message says why."),
    ("upstream_connection_broken", "The connection to the provider broke. Send the request again."),
    ("upstream_error", "The provider failed. Send the request again."),
    (
        "upstream_permission_denied",
        "The provider does not let this credential use the model. Ask it for access.",
    ),
    ("upstream_timeout", "The provider took too long. Send it again, or raise the route's timeout."),
    ("upstream_tls_failed", "No secure connection to the provider could be made. Check the base URL."),
    ("upstream_unreachable", "The provider or node can't be reached. Check its base URL."),
    ("validation_error", "The input does not fit the app's schema. `errors` names the fields."),
    ("version_mismatch", "The object was changed meanwhile. Read it again, and send its ETag in `If-Match`."),
    ("video_failed", "The provider could not make the video. Change what is to be seen, or try again."),
    ("video_length_missing", "A managed account makes videos of a stated length. Send `seconds`."),
    ("video_needs_own_credential", "Videos are made on a credential of your own. Add one."),
    ("video_not_ended", "The video is still being made. Delete it once it has ended."),
    ("video_not_found", "There is no such video."),
    ("video_not_made", "The video is still being made. Read it at /v1/videos until it is completed."),
    ("webhook_disabled", "The webhook is disabled. Enable it, then send the event again."),
    ("webhook_url_refused", "The webhook's URL is malformed, or the gateway's settings forbid its address."),
    ("websocket", "The client broke the WebSocket protocol."),
    ("websocket_required", "The request is no valid WebSocket handshake."),
    (
        "worker_limit",
        "The node keeps no more workers. Destroy one, or raise `max` of `[workers]` in its configuration.",
    ),
    ("worker_not_found", "The node has no worker of this id. `GET /v1/compute/workers` lists them."),
    (
        "worker_provider_missing",
        "The node is configured with no such provider of workers. Add it to `[workers]` in its configuration.",
    ),
    ("workspace_not_empty", "The workspace still has projects, credentials or nodes. Delete them first."),
    ("wrong_password", "The current password is missing or wrong."),
];

/// The table of `docs/errors.md`.
#[must_use]
pub fn page_table() -> String {
    let mut table = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in FAULT_CODES {
        table.push_str(&format!("| `{code}` | {meaning} |\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEANING_CHARS_MAX: usize = 120;

    #[test]
    fn codes_are_sorted_and_unique() {
        let unsorted = FAULT_CODES.array_windows().find(|[(code, _), (next, _)]| code >= next);
        assert_eq!(unsorted, None);
    }

    #[test]
    fn codes_are_plain_words_and_meanings_are_sentences() {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        for (code, meaning) in FAULT_CODES {
            assert!(!code.is_empty() && code.bytes().all(is_plain), "{code}");
            assert!(
                meaning.ends_with('.') && meaning.chars().count() <= MEANING_CHARS_MAX,
                "{code}: {meaning}"
            );
            assert!(!meaning.contains(['|', '\n']), "{code}: {meaning}");
        }
    }

    #[test]
    fn the_page_lists_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let page = std::fs::read_to_string(path).unwrap();
        let start = page.find("| code | meaning |\n").unwrap();
        let end = start + page[start..].find("\n\n").unwrap() + 1;
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = format!("{}{}{}", &page[..start], page_table(), &page[end..]);
            std::fs::write(path, page).unwrap();
        } else {
            assert_eq!(page[start..end], page_table(), "run the tests of this crate with UPDATE_DOCS=1");
        }
    }
}
