//! The entries of the audit in words: an action is a kind of object and a verb, and each verb is declared here once.

/// Each verb of an action, and the words for it, which follow the kind of object.
const VERBS: &str = "\
    add added|allow allowed|apply applied|approve approved|assign assigned|authorize authorized|\
    begin begun|canary canary started|cancel cancelled|cancelled cancelled|complete completed|\
    completed completed|create created|decide decided|delete deleted|delete_event event deleted|\
    deny denied|destroy destroyed|emergency answered by an account for emergencies|end ended|\
    event sent an event|fail failed|failed failed|fall_back answered by another target|finalise finalised|\
    finalize finalized|fork forked|install installed|invite invited|join joined|link link made|\
    load loaded|move moved|open opened|open_refused could not be opened|overflow entries lost|\
    override overridden|pause paused|probe probed|promote promoted|prove proof taken|\
    purge_cache cache purged|put changed|read downloaded|refuse refused|refuse_renewal renewal refused|\
    register registered|release released|remove removed|rename renamed|renew renewed|replay replayed|\
    request requested|resend event sent again|restore restored|restored repeated after a restore|\
    resume resumed|retry retried|revoke revoked|rollback rolled back|rollback_noticed older copy noticed|\
    rotate rotated|rotated contents encrypted again|set set|set_password password set|shred shredded|\
    snapshot snapshot made|start started|state state changed|supersede superseded|sweep swept|\
    switch switched|uninvite invitation withdrawn|unload unloaded|unwrap_failed could not be decrypted|\
    update updated|verify verified|withdraw_canary canary withdrawn";

/// An entry as a sentence: the kind of object, the act and the detail. `None` for a verb that isn't declared.
pub fn sentence(action: &str, detail: &str) -> Option<String> {
    let (kind, verb) = action.split_once('.')?;
    let mut verbs = VERBS.split('|').filter_map(|entry| entry.split_once(' '));
    let (_, done) = verbs.find(|(known, _)| *known == verb)?;
    let kind =
        kind.replace('_', " ").replace("api", "API").replace("mcp", "MCP").replace("sign in", "sign-in");
    let (first, rest) = kind.split_at_checked(1)?;
    let detail = detail.trim_end_matches('.');
    let colon = if detail.is_empty() { "" } else { ": " };
    Some(format!("{}{rest} {done}{colon}{detail}.", first.to_ascii_uppercase()))
}
