//! Invoices of sample months, and properties that hold for every invoice.

use domain::{Mode, Nanos, Price, Profile, WorkspaceId};
use proptest::prelude::*;

use super::*;
use crate::tariff::ProfileFees;

fn period() -> Period {
    Period { workspace: WorkspaceId::new(1, [7; 10]), start_unix_ms: 1_000, end_unix_ms: 2_000 }
}

fn counted(requests: u64, tokens: u64, cost: i64) -> Counted {
    Counted {
        requests,
        input_tokens: tokens,
        output_tokens: tokens / 2,
        cost: Nanos(cost),
        provider_cost: Nanos(cost * 2),
        ..Counted::default()
    }
}

fn fee(price: u64, included: u64) -> Fee {
    Fee { price: Price(price), included }
}

fn tariff() -> Tariff {
    Tariff {
        name: "team".into(),
        monthly_base: Price(20_000_000),
        byok: ProfileFees { requests: fee(100_000_000, 10), tokens: fee(50_000, 0) },
        managed_provider: ProfileFees { requests: fee(200_000_000, 0), ..ProfileFees::default() },
        acts: fee(10_000_000_000, 3),
        ..Tariff::default()
    }
}

fn month() -> Month {
    let of = |profile, whole: Counted, models: Vec<(&str, Counted)>| ProfileMonth {
        profile,
        whole,
        models: models.into_iter().map(|(name, counted)| (name.to_owned(), counted)).collect(),
    };
    Month {
        profiles: vec![
            of(
                Profile::ManagedProvider,
                counted(4, 100, 9_001),
                vec![("acme/tide-5", counted(4, 100, 9_001))],
            ),
            of(Profile::Byok, counted(12, 2_000, 0), vec![("acme/tide-5", counted(5, 1_000, 0))]),
            of(Profile::Byoc, counted(3, 40, 0), vec![("tide-1", counted(3, 40, 0))]),
        ],
        acts: 5,
    }
}

/// The lines as a table, so that a change of any figure is noticed.
#[test]
fn each_part_has_its_line() {
    let invoice = Invoice::compute(period(), tariff(), &month(), &[], Nanos::ZERO);
    let lines: Vec<_> = invoice.lines.iter().map(|line| (name(line), line.quantity, line.amount.0)).collect();
    let line = |name: &str, quantity, amount| (name.to_owned(), quantity, amount);
    assert_eq!(
        lines,
        [
            line("base", 1, 20_000_000_000),
            line("request_fee managed_provider", 4, 800_000),
            line("request_fee byok", 12, 200_000),
            line("token_fee byok", 3_000, 150_000),
            line("managed_tokens managed_provider acme/tide-5", 150, 9_001),
            line("byok_tokens byok acme/tide-5", 1_500, 0),
            line("byok_tokens byok", 1_500, 0),
            line("byoc_tokens byoc tide-1", 60, 0),
            line("acts", 5, 20_000_000),
        ]
    );
    assert_eq!(invoice.total, Nanos(20_021_159_001));
    assert_eq!(invoice.of_mode(Mode::Mi), Nanos(809_001));
    assert_eq!(invoice.of_mode(Mode::Byok), Nanos(350_000));
    assert_eq!(invoice.of_mode(Mode::Byoc), Nanos::ZERO);
    assert_eq!(check(&invoice, Nanos::ZERO), []);
}

#[test]
fn nothing_costs_anything_without_a_tariff() {
    let invoice = Invoice::compute(period(), Tariff::default(), &month(), &[], Nanos::ZERO);
    assert_eq!(invoice.total, Nanos(9_001), "the tokens of managed accounts alone");
    assert!(invoice.lines.iter().all(|line| line.price.is_none()));
}

#[test]
fn credit_pays_what_is_owed_and_no_more() {
    let late = LateRecords { period_start_unix_ms: 0, amount: Nanos(-400), requests: 0 };
    let draw = |credit| Invoice::compute(period(), Tariff::default(), &month(), &[late], Nanos(credit));
    assert_eq!(draw(0).total, Nanos(8_601));
    assert_eq!((draw(601).total, draw(601).amount_of(LineKind::Credit)), (Nanos(8_000), Nanos(-601)));
    assert_eq!(draw(10_000_000).total, Nanos::ZERO);
    assert_eq!(draw(-5).total, Nanos(8_601));
    assert_eq!((draw(0).of_month(), draw(0).adjustment_for(0)), (Nanos(9_001), Nanos(-400)));
}

#[test]
fn any_alteration_is_found() {
    let credit = Nanos(77);
    let invoice = Invoice::compute(period(), tariff(), &month(), &[], credit);
    let altered = |alter: &dyn Fn(&mut Invoice)| {
        let mut copy = invoice.clone();
        alter(&mut copy);
        [check(&copy, credit), compare_months(&copy, &invoice)].concat()
    };
    assert_eq!(altered(&|_| {}), []);
    for index in 0..invoice.lines.len() {
        assert!(!altered(&|copy| copy.lines[index].amount.0 += 1).is_empty(), "line {index}");
        assert!(!altered(&|copy| drop(copy.lines.remove(index))).is_empty(), "line {index}");
        // A credit has no quantity.
        let counts = invoice.lines[index].kind != LineKind::Credit;
        assert_eq!(counts, !altered(&|copy| copy.lines[index].quantity += 1).is_empty(), "line {index}");
    }
    assert!(!altered(&|copy| copy.total.0 -= 1).is_empty());
    // Line and total agree, but there was less credit, or more.
    for more in [-1, 1] {
        let mismatches = altered(&|copy| {
            copy.lines.last_mut().unwrap().amount.0 -= more;
            copy.total.0 -= more;
        });
        assert_eq!(mismatches.iter().map(|found| found.line.as_str()).collect::<Vec<_>>(), ["credit"]);
    }
    assert!(!altered(&|copy| copy.tariff.byok.requests.included = 0).is_empty());
}

fn any_counted() -> impl Strategy<Value = Counted> {
    (0_u64..1 << 30, 0_u64..1 << 40, 0_i64..1 << 50).prop_map(|(r, t, c)| counted(r, t, c))
}

proptest! {
    /// Whichever models get lines of their own, the lines of a profile add up to its total.
    #[test]
    fn lines_come_to_the_whole(
        parts in prop::collection::vec(any_counted(), 0..6), listed in 0_usize..6, credit in 0_i64..1 << 40,
    ) {
        let whole = parts.iter().fold(Counted::default(), |sum, part| sum.plus(*part));
        let models = parts.iter().take(listed).enumerate().map(|(at, part)| (format!("m{at}"), *part)).collect();
        let used = ProfileMonth { profile: Profile::ManagedProvider, whole, models };
        let month = Month { profiles: vec![used], acts: 9 };
        let invoice = Invoice::compute(period(), tariff(), &month, &[], Nanos(credit));
        prop_assert_eq!(invoice.amount_of(LineKind::ManagedTokens), whole.cost);
        let requests: u64 = invoice.lines.iter().map(|line| line.counted.requests).sum();
        prop_assert_eq!(requests, whole.requests);
        prop_assert_eq!(check(&invoice, Nanos(credit)), vec![]);
        prop_assert!(invoice.total.0 >= 0);
        let again = Invoice::compute(period(), tariff(), &month, &[], Nanos::ZERO);
        prop_assert_eq!(compare_months(&invoice, &again), vec![]);
    }
}
