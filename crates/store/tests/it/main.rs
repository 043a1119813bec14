//! Conformance tests of the store: the same cases for each database, and the cases specific to one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the helpers of tests may fail as loudly as the tests"
)]

mod address;
mod cases;
mod full_disk;
mod postgres;
mod samples;
mod sqlite;

use std::sync::Arc;

use domain::MeterRecord;
use snapshot::WorkspaceEntry;
use store::{ApiKeyRow, Founding, Store};

/// A fresh store, and what must live as long as it does.
pub struct Fresh {
    pub store: Store,
    pub founding: Founding,
    pub dir: tempfile::TempDir,
    /// The URL of a PostgreSQL database.
    pub url: Option<String>,
}

impl Fresh {
    /// An exchange of the founding project.
    pub fn record(&self, number: u64) -> MeterRecord {
        samples::record(self.founding.workspace.id, self.founding.project.id, number)
    }

    /// A key of the founding project.
    pub fn key(&self, number: u64) -> ApiKeyRow {
        samples::api_key(self.founding.workspace.id, self.founding.project.id, number)
    }

    /// A further workspace.
    pub async fn workspace(&self, number: u64) -> Founding {
        let made = samples::founding(number);
        self.store.workspaces().create(made.clone(), samples::act()).await.unwrap();
        made
    }

    /// What the snapshot has of the founding workspace.
    pub async fn entry(&self) -> Arc<WorkspaceEntry> {
        let loaded = self.store.source().load().await.unwrap().workspaces;
        let own = self.founding.workspace.id;
        loaded.into_iter().find(|(id, _)| *id == own).unwrap().1.unwrap()
    }

    /// As if the feed had been trimmed long ago.
    pub async fn forget_changes(&self) {
        self.meddle("DELETE FROM changes").await;
    }

    /// Runs a statement that bypasses the store.
    pub async fn meddle(&self, statement: &'static str) {
        match &self.url {
            Some(url) => postgres::run_on(url, statement).await,
            None => sqlite::run_on(self, statement).await,
        }
    }
}

/// Runs every case against one database: a further one needs its constructor and one line.
macro_rules! on_each {
    ([$($database:ident: $fresh:path),* $(,)?], $cases:tt) => {
        $(conformance!($database, $fresh, $cases);)*
    };
}

macro_rules! conformance {
    ($database:ident, $fresh:path, [$($noun:ident: [$($case:ident),* $(,)?]),* $(,)?]) => {
        mod $database {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::cases::$noun::$case(&$fresh().await).await;
                }
            )*)*
        }
    };
}

on_each!(
    [on_sqlite: crate::sqlite::fresh, on_postgres: crate::postgres::fresh],
    [
        sessions: [
            of_many_writers_at_once_one_wins, forks_share_their_history, content_ends_with_what_holds_it,
            a_session_is_read_changed_archived_and_foreign_to_others,
            sessions_are_listed_and_their_snapshots_read_back,
            a_session_s_usage_is_the_sum_of_all_its_requests,
        ],
        end_users: [what_end_users_used_is_summed_once_by_the_day],
        projects: [
            a_project_is_made_read_changed_and_deleted,
            a_name_is_taken_once_in_a_workspace_and_free_in_another, a_project_with_a_live_key_is_not_deleted,
            what_is_not_booked_yet_keeps_its_project_and_its_credential, pages_hold_every_project_once,
        ],
        tenants: [a_foreign_id_is_told_like_an_unknown_one, another_workspaces_project_can_not_be_named],
        api_keys: [
            a_key_is_found_changed_and_revoked_for_good, scopes_networks_and_expiry_read_back,
            an_access_secret_is_in_the_snapshot_until_its_key_ends,
        ],
        credentials: [
            everything_of_a_credential_reads_back,
            the_audit_names_the_facts_that_changed_and_not_what_they_are,
            another_address_needs_the_secret_anew, what_a_probe_found_stays_until_the_address_changes,
            a_rotation_takes_the_next_version_and_mends_an_invalid_one, names_are_unique,
            an_unverified_one_is_active_once_it_was_accepted, verification_never_enables_what_its_owner_shut,
            deleting_removes_secret_and_floor,
        ],
        subscriptions: [
            a_subscription_reads_back_and_is_no_credential,
            a_renewal_and_a_rotation_cannot_overwrite_each_other,
        ],
        accounts: [an_account_is_made_rotated_and_deleted],
        people: [
            a_member_is_invited_changed_and_removed, a_person_is_in_several_workspaces,
            an_email_tells_nothing_and_blocks_nobody, keys_that_a_member_made_are_asked_about,
            the_last_owner_stays, a_name_and_an_email_are_changed_and_an_email_is_taken_once,
        ],
        sign_ins: [
            a_session_is_found_until_it_ends, a_removed_members_session_ends_with_the_membership,
            a_password_ends_every_other_session_and_link, a_link_works_once_and_in_its_time,
            a_link_of_one_workspace_signs_in_nobody_whom_another_knows,
            somebody_else_of_the_same_email_joins_as_a_new_person,
            tries_are_counted_together_and_end_with_their_window,
        ],
        devices: [
            a_device_is_given_one_key, what_is_denied_too_old_or_too_many_is_given_none,
            a_devices_key_ends_with_its_persons_membership_or_role,
        ],
        joins: [
            a_token_lets_one_node_in_and_says_why_it_lets_no_other,
            a_token_is_listed_and_withdrawn_until_it_is_used,
            a_node_is_away_when_it_has_left_out_its_heartbeats,
            a_node_that_speaks_is_away_where_its_address_does_not_answer,
            what_a_node_reports_again_is_kept_once, hours_and_work_are_added_up_once,
            a_revoked_node_is_taken_over_under_its_name,
            the_first_key_of_a_node_stays_and_its_address_can_move,
        ],
        nodes: [
            a_node_is_made_observed_and_changed, a_removed_secret_does_not_come_back_under_its_version,
            what_a_node_takes_is_kept_and_reaches_the_snapshot,
        ],
        aliases: [
            every_field_of_an_alias_reads_back, an_alias_is_one_of_its_name_and_ends_with_its_project,
            aliases_and_releases_are_bounded,
        ],
        agent_hints: [stored_hints_read_back_and_are_bounded],
        policies: [
            every_field_of_a_policy_reads_back, a_change_keeps_the_secret_of_hooks_or_brings_the_next,
            a_project_has_one_policy_that_ends_with_it,
            a_workspace_has_one_policy_beside_those_of_its_projects,
        ],
        capabilities: [a_statement_is_kept_with_the_revisions_that_it_makes],
        routes: [
            every_field_of_a_route_reads_back, every_save_of_a_route_is_a_version,
            routes_of_one_scope_are_told_apart_by_their_conditions, the_same_places_are_fixed_once,
            a_route_names_its_own_workspaces_things, a_change_is_written_on_the_rules_it_was_checked_against,
        ],
        workspaces: [founding_is_whole_or_not_at_all, a_workspace_with_something_in_it_is_not_deleted],
        feed: [
            every_change_has_a_version_and_wakes_the_watchers,
            what_does_not_change_the_configuration_moves_no_version, an_expected_version_is_held_to,
            a_lost_answer_is_told_as_such_and_the_write_is_there, a_refused_commit_leaves_nothing,
            a_caller_who_hangs_up_does_not_lose_the_news, a_change_is_audited_with_it,
        ],
        source: [
            a_whole_load_has_everything, a_change_is_read_by_part, a_change_of_a_node_is_read_alone,
            nodes_that_changed_one_by_one_are_as_in_a_whole_load, a_follower_too_far_behind_reads_everything,
            the_keeper_publishes_what_was_written,
        ],
        records: [
            a_batch_is_taken_once_with_its_position, a_record_reads_back_whole_and_only_in_its_workspace,
            requests_are_listed_newest_first_and_filtered, overlapping_batches_are_told_in_one_order,
            pages_stay_whole_whatever_comes_in_between, what_may_come_again_is_counted_once,
            a_batch_of_many_workspaces_shows_each_its_own, what_is_rare_is_found_wherever_it_lies,
            a_page_that_looked_at_much_ends_early,
        ],
        upkeep: [
            days_say_what_their_hours_say, days_are_summed_beside_batches,
            what_is_too_old_is_forgotten_and_its_sums_stay, minutes_are_forgotten_and_their_hours_stay,
            many_minutes_are_forgotten_a_slice_at_a_time,
        ],
        usage: [
            sums_follow_every_dimension, tasks_agents_and_adapters_add_up_to_the_total,
            intervals_cut_the_window, a_window_covers_whole_minutes, an_answer_has_an_end,
            many_records_are_summed_in_little_time, each_mode_has_its_own_money,
            percentiles_are_of_completed_requests,
        ],
        audit: [
            entries_are_appended_once_and_listed_newest_first,
            entries_of_one_moment_stand_as_they_were_written, entries_are_searched_by_any_of_their_fields,
            a_sink_is_known_by_how_far_it_was_sent_a_chain, a_chain_holds_and_whatever_is_touched_is_found,
            entries_at_once_are_one_chain_for_each_workspace, what_is_in_no_chain_is_taken_in,
            an_entry_tells_the_object_before_and_after,
        ],
        rehearsal: [what_is_rehearsed_is_answered_and_not_kept],
        budgets: [
            a_budget_is_made_read_changed_and_deleted, a_budget_is_of_its_own_workspaces_things,
            a_lease_is_granted_returned_and_released, what_records_draw_moves_from_leases_to_the_books_once,
            what_an_object_holds_is_reserved_until_it_is_booked,
            what_an_answer_holds_is_reserved_until_it_is_booked,
            a_commitment_is_drawn_told_of_and_forgotten_with_its_credential,
            a_refusal_reaches_a_budget_before_its_last_nano, credit_is_a_budget_that_never_begins_anew,
            rates_are_set_read_and_taken_away,
        ],
        diagnostics: [the_newest_reports_of_each_workspace_are_kept],
        meta: [facts_are_written_together],
        jobs: [
            a_job_is_one_workers_until_its_lease_ends, a_job_waits_fails_comes_again_and_is_given_up,
            a_name_is_one_job, workspaces_take_turns, a_dead_workers_jobs_are_let_go,
            no_job_is_taken_twice_at_once,
        ],
        webhooks: [
            a_webhook_is_made_changed_rotated_and_deleted, a_webhook_too_many_or_twice_is_a_conflict,
            an_act_is_told_to_whoever_wants_its_kind,
            a_rule_that_is_changed_while_it_is_measured_is_measured_again,
            an_event_is_kept_once_and_its_delivery_told, a_delivery_is_asked_for_anew,
        ],
        invoices: [
            the_tariff_in_force_is_the_newest_that_began, an_invoice_is_finalised_once,
            acts_are_those_of_keys_and_people,
        ],
        reconciliations: [a_reconciliation_is_its_workspaces_and_the_oldest_give_way],
        scores: [a_score_is_its_workspaces_and_leaves_with_its_request],
        rotations: [
            a_master_key_is_in_force_once_everything_is_under_it,
            a_workspaces_old_key_ends_when_nothing_is_sealed_by_it,
        ],
        kept_answers: [
            a_key_is_answered_once_and_read_back, a_claim_is_given_back_taken_over_or_extended,
            what_a_dead_process_claimed_is_free, a_claim_whose_commit_was_lost_is_claimed_again,
            of_many_at_once_one_claims, what_is_over_is_removed_and_a_purge_leaves_nothing,
            a_purge_of_the_response_cache_leaves_what_is_under_keys,
        ],
        kept_turns: [
            a_turn_is_found_once_by_any_of_its_calls, another_workspace_or_project_finds_no_turn,
            of_too_many_turns_the_newest_are_found, a_turn_whose_commit_was_lost_is_kept_again,
            turns_that_are_over_are_removed_and_a_purge_leaves_none,
            a_workspaces_old_key_stays_while_it_seals_a_turn,
        ],
        stored_responses: [
            an_answer_is_known_by_its_hash_for_a_while, an_answer_asks_for_its_job_once,
            one_request_alone_books_an_answer, of_rows_that_are_kept_together_all_are_or_none,
        ],
        kept_objects: [
            a_thing_is_known_to_its_project_alone, things_are_listed_by_pages_in_either_order,
            a_thing_asks_for_its_job_once_and_ends_in_its_time, one_request_alone_books_a_thing,
            results_on_an_account_wait_for_the_books, a_film_is_hidden_until_it_is_booked,
        ],
    ]
);
