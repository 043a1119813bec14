//! Drawing, finalising, adjusting and verifying invoices.

use domain::{BudgetId, Mode, Nanos, Price, Profile};
use ledger::invoice::Period;
use ledger::tariff::ProfileFees;
use ledger::{Fee, LineKind, Tariff};
use reconcilers::invoicing::{Checked, draw, finalise, month_of, open_months, verify};
use store::{Dimension, Page, TariffVersion, UsageFilter, UsageQuery, Window};

use crate::books::{Books, DAY, NOVEMBER, OCTOBER, SEPTEMBER, act};

const MODEL: &str = "openai/gpt-5";

async fn set_tariff(books: &Books, effective_unix_ms: u64) {
    let fee = |price, included| Fee { price: Price(price), included };
    let tariff = Tariff {
        name: "default".into(),
        monthly_base: Price(1_000_000),
        byok: ProfileFees { requests: fee(500_000_000, 2), tokens: fee(1_000, 0) },
        managed_provider: ProfileFees { requests: fee(100_000_000, 0), ..ProfileFees::default() },
        ..Tariff::default()
    };
    let version = TariffVersion { tariff, effective_unix_ms, created_unix_ms: 1 };
    books.store.tariffs().put(version, act(SEPTEMBER)).await.unwrap();
}

fn month(books: &Books, unix_ms: u64) -> Period {
    month_of(books.workspace, unix_ms)
}

async fn close(books: &Books, unix_ms: u64, at: u64) -> bool {
    finalise(&books.store, month(books, unix_ms), act(at)).await.unwrap()
}

async fn checked(books: &Books, unix_ms: u64) -> Checked {
    verify(&books.store, month(books, unix_ms).invoice_id()).await.unwrap().unwrap()
}

/// Traffic of each kind in October, including its first and last moments.
async fn october(books: &Books) {
    for at in [OCTOBER, OCTOBER + 5 * DAY, NOVEMBER - 1] {
        books.book(at, Profile::ManagedProvider, MODEL).await;
        books.book(at, Profile::Byok, MODEL).await;
    }
    books.book(OCTOBER + DAY, Profile::Byok, "mistral/large").await;
    books.book(OCTOBER + DAY, Profile::Byoc, "tide-1").await;
    books.book(OCTOBER - 1, Profile::ManagedProvider, MODEL).await;
    books.book(NOVEMBER, Profile::ManagedProvider, MODEL).await;
}

/// Those months' traffic, and a tariff from then on.
async fn opened(tariff_unix_ms: u64) -> Books {
    let books = Books::open().await;
    set_tariff(&books, tariff_unix_ms).await;
    october(&books).await;
    books
}

#[tokio::test]
async fn a_month_is_its_own_records_and_equals_the_snapshot() {
    let books = opened(OCTOBER).await;
    let invoice = draw(&books.store, month(&books, OCTOBER + 9 * DAY)).await.unwrap();
    let window = Window { start_unix_ms: OCTOBER, end_unix_ms: NOVEMBER };
    let (workspace, filter, group_by) = (books.workspace, UsageFilter::default(), vec![Dimension::Mode]);
    let query = UsageQuery { workspace, window, group_by, interval: None, filter };
    let rows = books.store.records().usage(query).await.unwrap();
    let record = [Mode::Mi, Mode::Byok]
        .map(|mode| rows.iter().find(|row| row.groups[0].1.as_deref() == Some(mode.as_str())).unwrap().sums);
    assert_eq!(invoice.amount_of(LineKind::ManagedTokens), record[0].cost);
    assert_eq!(record[0].requests, 3);
    assert_eq!(invoice.of_mode(Mode::Mi), record[0].cost.plus(Nanos(3 * 100_000)));
    // Four requests, two of them included, and 440 tokens.
    assert_eq!(invoice.of_mode(Mode::Byok), Nanos(2 * 500_000 + 440));
    assert_eq!(invoice.of_mode(Mode::Byoc), Nanos::ZERO);
    assert_eq!(invoice.amount_of(LineKind::Base), Nanos(1_000_000_000));
    let memos = invoice.lines.iter().filter(|line| line.kind == LineKind::ByokTokens);
    let memo: Nanos = memos.map(|line| line.counted.provider_cost).sum();
    assert_eq!((memo, record[1].cost), (record[1].provider_cost, Nanos::ZERO));
    let september = draw(&books.store, month(&books, SEPTEMBER)).await.unwrap();
    assert_eq!(september.amount_of(LineKind::Base), Nanos::ZERO, "before the tariff");
    assert_eq!(september.lines.len(), 1);
}

#[tokio::test]
async fn months_are_finalised_once_and_in_their_order() {
    let books = Books::open().await;
    october(&books).await;
    let now = NOVEMBER + 2 * DAY;
    let open = async || -> Vec<u64> {
        let open = open_months(&books.store, books.workspace, now).await.unwrap();
        open.into_iter().map(|month| month.start_unix_ms).collect()
    };
    assert_eq!(open().await, [NOVEMBER, OCTOBER, SEPTEMBER]);
    assert!(close(&books, SEPTEMBER, now).await);
    assert_eq!(open().await, [NOVEMBER, OCTOBER]);
    assert!(close(&books, OCTOBER, now).await);
    assert!(!close(&books, OCTOBER, now + 1).await, "once");
    assert_eq!(open().await, [NOVEMBER]);
    let listed = books.store.invoices().list(books.workspace, Page::default()).await.unwrap().rows;
    let finalised: Vec<_> = listed.iter().map(|row| (row.id, row.finalised_unix_ms)).collect();
    let id = |at| month(&books, at).invoice_id();
    assert_eq!(finalised, [(id(OCTOBER), now), (id(SEPTEMBER), now)]);
    assert!(checked(&books, OCTOBER).await.is_sound());
}

#[tokio::test]
async fn what_comes_late_is_a_line_of_the_next_and_changes_nothing_before() {
    let books = opened(SEPTEMBER).await;
    close(&books, SEPTEMBER, OCTOBER + DAY).await;
    close(&books, OCTOBER, NOVEMBER + DAY).await;
    let before = books.store.invoices().find(month(&books, OCTOBER).invoice_id()).await.unwrap().unwrap();
    // One more BYOK request and one more managed request, from a gateway that was offline.
    books.book(OCTOBER + 20 * DAY, Profile::Byok, MODEL).await;
    books.book(OCTOBER + 20 * DAY, Profile::ManagedProvider, MODEL).await;
    let after = books.store.invoices().find(before.id).await.unwrap().unwrap();
    assert_eq!(after, before);
    let pending = checked(&books, OCTOBER).await;
    assert!(!pending.is_sound() && pending.unsound.is_empty(), "{pending:?}");
    assert!(pending.unexplained > Nanos::ZERO, "{pending:?}");

    let next = draw(&books.store, month(&books, NOVEMBER)).await.unwrap();
    let line = next.lines.iter().find(|line| line.kind == LineKind::Adjustment).unwrap();
    assert_eq!((line.period_start_unix_ms, line.quantity), (Some(OCTOBER), 2));
    assert_eq!(line.amount, pending.unexplained);
    let december = month(&books, NOVEMBER).end_unix_ms;
    close(&books, NOVEMBER, december + DAY).await;
    let explained = checked(&books, OCTOBER).await;
    assert!(explained.is_sound(), "{explained:?}");
    assert_eq!(explained.adjusted, line.amount);
    assert!(checked(&books, NOVEMBER).await.is_sound());
    let following = draw(&books.store, month(&books, december)).await.unwrap();
    assert_eq!(following.amount_of(LineKind::Adjustment), Nanos::ZERO, "once");
    // Whatever arrived when, all invoices together add up to the books.
    let (mut invoiced, mut owed) = (Nanos::ZERO, Nanos::ZERO);
    for at in [SEPTEMBER, OCTOBER, NOVEMBER] {
        let row = books.store.invoices().find(month(&books, at).invoice_id()).await.unwrap().unwrap();
        invoiced = invoiced.plus(row.invoice.total);
        let again = draw(&books.store, month(&books, at)).await.unwrap();
        owed = owed.plus(again.of_month());
    }
    assert_eq!(invoiced, owed);
}

/// Prepaid credit is used once, however often and in whichever state invoices are drawn.
#[tokio::test]
async fn credit_pays_once_over_all_months_and_whoever_draws_again_finds_the_same() {
    let books = opened(SEPTEMBER).await;
    let credit = async |amount: i64, at: u64| {
        let id = BudgetId::new(at, [7; 10]);
        let (budgets, amount) = (books.store.budgets(), Nanos(amount));
        budgets.add_credit(books.workspace, id, amount, String::new(), act(at)).await.unwrap();
    };
    let amounts = async |at: u64| {
        let invoice = draw(&books.store, month(&books, at)).await.unwrap();
        let paid = invoice.amount_of(LineKind::Credit);
        (invoice.total.plus(-paid), paid, invoice.total)
    };
    // Drafts of three months that each owe more than a dollar, without prepaid credit.
    let (september, october, november) =
        (amounts(SEPTEMBER).await, amounts(OCTOBER).await, amounts(NOVEMBER).await);
    for (owed, paid, _) in [september, october, november] {
        assert!(owed.0 > 1_000_000_000 && paid.0 == 0);
    }
    // Enough for September and part of October; in November some is added, and some taken back.
    let first = september.0.0 + 400_000_000;
    credit(first, SEPTEMBER + DAY).await;
    credit(900_000_000, NOVEMBER + DAY).await;
    credit(-300_000_000, NOVEMBER + 2 * DAY).await;
    let expected = [
        (september.0, -september.0, Nanos::ZERO),
        (october.0, Nanos(-400_000_000), october.0.plus(Nanos(-400_000_000))),
        (november.0, Nanos(-600_000_000), november.0.plus(Nanos(-600_000_000))),
    ];
    let december = month(&books, NOVEMBER).end_unix_ms;
    let months = [SEPTEMBER, OCTOBER, NOVEMBER];
    for finalised in 0..=months.len() {
        for (at, expected) in months.into_iter().zip(expected) {
            assert_eq!(amounts(at).await, expected, "with {finalised} of them finalised");
        }
        assert_eq!(amounts(december).await.1, Nanos::ZERO, "nothing is left of it");
        if let Some(at) = months.get(finalised) {
            assert!(close(&books, *at, december + DAY).await);
            assert!(!close(&books, *at, december + 2 * DAY).await, "once");
            assert!(checked(&books, *at).await.is_sound());
        }
    }
    // Credit added or taken back afterwards changes no month that is over.
    credit(5_000_000, december + DAY).await;
    credit(-800_000_000, december + DAY).await;
    for at in months {
        let found = checked(&books, at).await;
        assert!(found.is_sound(), "{found:?}");
    }
    assert_eq!(amounts(december).await.1, Nanos::ZERO, "more was taken back than is left");
    // A credit line and the total altered together: all sums fit, but the credit doesn't.
    books
        .alter(
            "UPDATE invoices SET body = json_replace(body, '$.lines[#-1].amount', json_extract(body, '$.lines[#-1].amount') - 1,
                 '$.total', json_extract(body, '$.total') - 1) WHERE period_start_unix_ms = 1759276800000",
        )
        .await;
    let found = checked(&books, OCTOBER).await;
    let lines: Vec<_> = found.unsound.iter().map(|found| (found.line.as_str(), found.recomputed)).collect();
    assert_eq!((lines, found.is_sound()), (vec![("credit", -400_000_000)], false));
}

#[tokio::test]
async fn an_altered_row_is_found() {
    let alterations = [
        // The total alone, or a line with its total: the books disagree.
        "UPDATE invoices SET body = json_set(body, '$.total', 1)",
        "UPDATE invoices SET body = json_set(body, '$.lines[0].amount', 5)",
        "UPDATE invoices SET body = json_set(body, '$.lines[4].amount', json_extract(body, '$.lines[4].amount') - 10,
             '$.lines[4].counted.cost', json_extract(body, '$.lines[4].counted.cost') - 10,
             '$.total', json_extract(body, '$.total') - 10)",
        "UPDATE invoices SET body = json_set(body, '$.lines[1].quantity', 1)",
        "UPDATE invoices SET body = json_set(body, '$.tariff.byok.requests.price', 1)",
        "UPDATE invoices SET body = json_remove(body, '$.lines[1]')",
    ];
    for alteration in alterations {
        let books = opened(SEPTEMBER).await;
        close(&books, OCTOBER, NOVEMBER + DAY).await;
        let sound = checked(&books, OCTOBER).await;
        assert!(sound.is_sound(), "{sound:?}");
        assert_eq!((sound.records.records, sound.without_record), (8, 0));
        books.alter(alteration).await;
        let found = checked(&books, OCTOBER).await;
        assert!(!found.is_sound(), "{alteration}");
        assert!(!found.unsound.is_empty() || !found.differing.is_empty(), "{alteration}: {found:?}");
    }
}

#[tokio::test]
async fn a_month_whose_records_are_gone_is_recomputed_from_its_sums_and_says_so() {
    let books = opened(SEPTEMBER).await;
    close(&books, OCTOBER, NOVEMBER + DAY).await;
    books.alter("DELETE FROM record_batches").await;
    let found = checked(&books, OCTOBER).await;
    assert_eq!((found.records.records, found.without_record), (0, 8));
    assert!(found.is_sound(), "{found:?}");
}
