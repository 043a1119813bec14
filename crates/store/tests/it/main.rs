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

use std::future::Future;

use store::Store;

/// A fresh store, and what must live as long as it does.
pub struct Fresh {
    pub store: Store,
    pub founding: store::Founding,
    pub dir: tempfile::TempDir,
    /// The URL of a PostgreSQL database.
    pub url: Option<String>,
}

impl Fresh {
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

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Runs every case against one database: a further one needs its constructor and one line.
macro_rules! on_each {
    ([$($database:ident: $fresh:path),* $(,)?], $cases:tt) => {
        $(conformance!($database, $fresh, $cases);)*
    };
}

macro_rules! conformance {
    ($database:ident, $fresh:path, [$($noun:ident :: $case:ident),* $(,)?]) => {
        mod $database {
            $(
                #[test]
                fn $case() {
                    crate::run(async {
                        let fresh = $fresh().await;
                        crate::cases::$noun::$case(&fresh).await;
                    });
                }
            )*
        }
    };
}

on_each!(
    [on_sqlite: crate::sqlite::fresh, on_postgres: crate::postgres::fresh],
    [
        sessions::of_many_writers_at_once_one_wins,
        sessions::forks_share_their_history,
        sessions::content_ends_with_what_holds_it,
        sessions::a_session_is_read_changed_archived_and_foreign_to_others,
        sessions::sessions_are_listed_and_their_snapshots_read_back,
        sessions::a_session_s_usage_is_the_sum_of_all_its_requests,
        end_users::what_end_users_used_is_summed_once_by_the_day,
        projects::a_project_is_made_read_changed_and_deleted,
        projects::a_name_is_taken_once_in_a_workspace_and_free_in_another,
        projects::a_project_with_a_live_key_is_not_deleted,
        projects::what_is_not_booked_yet_keeps_its_project_and_its_credential,
        projects::pages_hold_every_project_once,
        tenants::a_foreign_id_is_told_like_an_unknown_one,
        tenants::another_workspaces_project_can_not_be_named,
        api_keys::a_key_is_found_changed_and_revoked_for_good,
        api_keys::scopes_networks_and_expiry_read_back,
        api_keys::an_access_secret_is_in_the_snapshot_until_its_key_ends,
        credentials::everything_of_a_credential_reads_back,
        credentials::the_audit_names_the_facts_that_changed_and_not_what_they_are,
        credentials::another_address_needs_the_secret_anew,
        credentials::what_a_probe_found_stays_until_the_address_changes,
        credentials::a_rotation_takes_the_next_version_and_mends_an_invalid_one,
        credentials::names_are_unique,
        credentials::an_unverified_one_is_active_once_it_was_accepted,
        credentials::verification_never_enables_what_its_owner_shut,
        credentials::deleting_removes_secret_and_floor,
        subscriptions::a_subscription_reads_back_and_is_no_credential,
        subscriptions::a_renewal_and_a_rotation_cannot_overwrite_each_other,
        accounts::an_account_is_made_rotated_and_deleted,
        people::a_member_is_invited_changed_and_removed,
        people::a_person_is_in_several_workspaces,
        people::an_email_tells_nothing_and_blocks_nobody,
        people::keys_that_a_member_made_are_asked_about,
        people::the_last_owner_stays,
        people::a_name_and_an_email_are_changed_and_an_email_is_taken_once,
        sign_ins::a_session_is_found_until_it_ends,
        sign_ins::a_removed_members_session_ends_with_the_membership,
        sign_ins::a_password_ends_every_other_session_and_link,
        sign_ins::a_link_works_once_and_in_its_time,
        sign_ins::a_link_of_one_workspace_signs_in_nobody_whom_another_knows,
        sign_ins::somebody_else_of_the_same_email_joins_as_a_new_person,
        sign_ins::tries_are_counted_together_and_end_with_their_window,
        devices::a_device_is_given_one_key,
        devices::what_is_denied_too_old_or_too_many_is_given_none,
        devices::a_devices_key_ends_with_its_persons_membership_or_role,
        joins::a_token_lets_one_node_in_and_says_why_it_lets_no_other,
        joins::a_token_is_listed_and_withdrawn_until_it_is_used,
        joins::a_node_is_away_when_it_has_left_out_its_heartbeats,
        joins::a_node_that_speaks_is_away_where_its_address_does_not_answer,
        joins::what_a_node_reports_again_is_kept_once,
        joins::hours_and_work_are_added_up_once,
        joins::a_revoked_node_is_taken_over_under_its_name,
        joins::the_first_key_of_a_node_stays_and_its_address_can_move,
        nodes::a_node_is_made_observed_and_changed,
        nodes::a_removed_secret_does_not_come_back_under_its_version,
        nodes::what_a_node_takes_is_kept_and_reaches_the_snapshot,
        aliases::every_field_of_an_alias_reads_back,
        aliases::an_alias_is_one_of_its_name_and_ends_with_its_project,
        aliases::aliases_and_releases_are_bounded,
        agent_hints::stored_hints_read_back_and_are_bounded,
        policies::every_field_of_a_policy_reads_back,
        policies::a_change_keeps_the_secret_of_hooks_or_brings_the_next,
        policies::a_project_has_one_policy_that_ends_with_it,
        policies::a_workspace_has_one_policy_beside_those_of_its_projects,
        capabilities::a_statement_is_kept_with_the_revisions_that_it_makes,
        routes::every_field_of_a_route_reads_back,
        routes::every_save_of_a_route_is_a_version,
        routes::routes_of_one_scope_are_told_apart_by_their_conditions,
        routes::the_same_places_are_fixed_once,
        routes::a_route_names_its_own_workspaces_things,
        routes::a_change_is_written_on_the_rules_it_was_checked_against,
        workspaces::founding_is_whole_or_not_at_all,
        workspaces::a_workspace_with_something_in_it_is_not_deleted,
        feed::every_change_has_a_version_and_wakes_the_watchers,
        feed::what_does_not_change_the_configuration_moves_no_version,
        feed::an_expected_version_is_held_to,
        feed::a_lost_answer_is_told_as_such_and_the_write_is_there,
        feed::a_refused_commit_leaves_nothing,
        feed::a_caller_who_hangs_up_does_not_lose_the_news,
        feed::a_change_is_audited_with_it,
        source::a_whole_load_has_everything,
        source::a_change_is_read_by_part,
        source::a_change_of_a_node_is_read_alone,
        source::nodes_that_changed_one_by_one_are_as_in_a_whole_load,
        source::a_follower_too_far_behind_reads_everything,
        source::the_keeper_publishes_what_was_written,
        records::a_batch_is_taken_once_with_its_position,
        records::a_record_reads_back_whole_and_only_in_its_workspace,
        records::requests_are_listed_newest_first_and_filtered,
        records::overlapping_batches_are_told_in_one_order,
        records::pages_stay_whole_whatever_comes_in_between,
        records::what_may_come_again_is_counted_once,
        records::a_batch_of_many_workspaces_shows_each_its_own,
        records::what_is_rare_is_found_wherever_it_lies,
        records::a_page_that_looked_at_much_ends_early,
        upkeep::days_say_what_their_hours_say,
        upkeep::days_are_summed_beside_batches,
        upkeep::what_is_too_old_is_forgotten_and_its_sums_stay,
        upkeep::minutes_are_forgotten_and_their_hours_stay,
        upkeep::many_minutes_are_forgotten_a_slice_at_a_time,
        usage::sums_follow_every_dimension,
        usage::tasks_agents_and_adapters_add_up_to_the_total,
        usage::intervals_cut_the_window,
        usage::a_window_covers_whole_minutes,
        usage::an_answer_has_an_end,
        usage::many_records_are_summed_in_little_time,
        usage::each_mode_has_its_own_money,
        usage::percentiles_are_of_completed_requests,
        audit::entries_are_appended_once_and_listed_newest_first,
        audit::entries_of_one_moment_stand_as_they_were_written,
        audit::entries_are_searched_by_any_of_their_fields,
        audit::a_sink_is_known_by_how_far_it_was_sent_a_chain,
        audit::a_chain_holds_and_whatever_is_touched_is_found,
        audit::entries_at_once_are_one_chain_for_each_workspace,
        audit::what_is_in_no_chain_is_taken_in,
        audit::an_entry_tells_the_object_before_and_after,
        rehearsal::what_is_rehearsed_is_answered_and_not_kept,
        budgets::a_budget_is_made_read_changed_and_deleted,
        budgets::a_budget_is_of_its_own_workspaces_things,
        budgets::a_lease_is_granted_returned_and_released,
        budgets::what_records_draw_moves_from_leases_to_the_books_once,
        budgets::what_an_object_holds_is_reserved_until_it_is_booked,
        budgets::what_an_answer_holds_is_reserved_until_it_is_booked,
        budgets::a_commitment_is_drawn_told_of_and_forgotten_with_its_credential,
        budgets::a_refusal_reaches_a_budget_before_its_last_nano,
        budgets::credit_is_a_budget_that_never_begins_anew,
        budgets::rates_are_set_read_and_taken_away,
        diagnostics::the_newest_reports_of_each_workspace_are_kept,
        meta::facts_are_written_together,
        jobs::a_job_is_one_workers_until_its_lease_ends,
        jobs::a_job_waits_fails_comes_again_and_is_given_up,
        jobs::a_name_is_one_job,
        jobs::workspaces_take_turns,
        jobs::a_dead_workers_jobs_are_let_go,
        jobs::no_job_is_taken_twice_at_once,
        webhooks::a_webhook_is_made_changed_rotated_and_deleted,
        webhooks::a_webhook_too_many_or_twice_is_a_conflict,
        webhooks::an_act_is_told_to_whoever_wants_its_kind,
        webhooks::a_rule_that_is_changed_while_it_is_measured_is_measured_again,
        webhooks::an_event_is_kept_once_and_its_delivery_told,
        webhooks::a_delivery_is_asked_for_anew,
        invoices::the_tariff_in_force_is_the_newest_that_began,
        invoices::an_invoice_is_finalised_once,
        invoices::acts_are_those_of_keys_and_people,
        reconciliations::a_reconciliation_is_its_workspaces_and_the_oldest_give_way,
        scores::a_score_is_its_workspaces_and_leaves_with_its_request,
        rotations::a_master_key_is_in_force_once_everything_is_under_it,
        rotations::a_workspaces_old_key_ends_when_nothing_is_sealed_by_it,
        kept_answers::a_key_is_answered_once_and_read_back,
        kept_answers::a_claim_is_given_back_taken_over_or_extended,
        kept_answers::what_a_dead_process_claimed_is_free,
        kept_answers::a_claim_whose_commit_was_lost_is_claimed_again,
        kept_answers::of_many_at_once_one_claims,
        kept_answers::what_is_over_is_removed_and_a_purge_leaves_nothing,
        kept_answers::a_purge_of_the_response_cache_leaves_what_is_under_keys,
        kept_turns::a_turn_is_found_once_by_any_of_its_calls,
        kept_turns::another_workspace_or_project_finds_no_turn,
        kept_turns::of_too_many_turns_the_newest_are_found,
        kept_turns::a_turn_whose_commit_was_lost_is_kept_again,
        kept_turns::turns_that_are_over_are_removed_and_a_purge_leaves_none,
        kept_turns::a_workspaces_old_key_stays_while_it_seals_a_turn,
        stored_responses::an_answer_is_known_by_its_hash_for_a_while,
        stored_responses::an_answer_asks_for_its_job_once,
        stored_responses::one_request_alone_books_an_answer,
        stored_responses::of_rows_that_are_kept_together_all_are_or_none,
        kept_objects::a_thing_is_known_to_its_project_alone,
        kept_objects::things_are_listed_by_pages_in_either_order,
        kept_objects::a_thing_asks_for_its_job_once_and_ends_in_its_time,
        kept_objects::one_request_alone_books_a_thing,
        kept_objects::results_on_an_account_wait_for_the_books,
        kept_objects::a_film_is_hidden_until_it_is_booked,
    ]
);
