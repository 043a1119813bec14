//! Tariffs and finalised invoices.

use domain::{Nanos, Price};
use ledger::invoice::{Month, Period};
use ledger::{Fee, Invoice, Tariff};
use store::{Act, Assignment, InvoiceRow, Page, TariffVersion};
use world::World;

use crate::samples::{Fresh, act, conflict, founding, missing, project, workspace_id};

fn version(name: &str, base: u64, effective_unix_ms: u64) -> TariffVersion {
    let tariff = Tariff {
        name: name.into(),
        monthly_base: Price(base),
        acts: Fee { price: Price(u64::from(u32::MAX) << 20), included: 3 },
        ..Tariff::default()
    };
    TariffVersion { tariff, effective_unix_ms, created_unix_ms: 9 }
}

pub async fn the_tariff_in_force_is_the_newest_that_began(fresh: &Fresh) {
    let (tariffs, workspace) = (fresh.store.tariffs(), fresh.founding.workspace.id);
    let base = async |month| tariffs.in_force(workspace, month).await.unwrap().monthly_base.0;
    assert_eq!(base(100).await, 0, "nothing was said");
    for made in [version("default", 1, 10), version("default", 2, 20), version("team", 7, 5)] {
        tariffs.put(made.clone(), act()).await.unwrap();
        assert!(tariffs.list().await.unwrap().contains(&made));
    }
    assert_eq!((base(9).await, base(10).await, base(19).await, base(20).await), (0, 1, 1, 2));
    tariffs.put(version("default", 3, 20), act()).await.unwrap();
    assert_eq!((base(20).await, tariffs.list().await.unwrap().len()), (3, 3), "written over");
    let assign = |workspace, name: &str, effective_unix_ms| {
        tariffs.assign(Assignment { workspace, tariff: name.into(), effective_unix_ms }, act())
    };
    assign(workspace, "team", 30).await.unwrap();
    assert_eq!((base(29).await, base(30).await), (3, 7));
    conflict(assign(workspace, "none", 30).await, "no_such_tariff");
    missing(assign(workspace_id(99), "team", 30).await);
    assert_eq!(tariffs.assignments().await.unwrap().len(), 1);
}

pub async fn an_invoice_is_finalised_once(fresh: &Fresh) {
    let (invoices, workspace) = (fresh.store.invoices(), fresh.founding.workspace.id);
    let row = |start_unix_ms: u64, base| {
        let period = Period { workspace, start_unix_ms, end_unix_ms: start_unix_ms + 10 };
        let tariff = version("default", base, 0).tariff;
        let invoice = Invoice::compute(period, tariff, &Month::default(), &[], Nanos::ZERO);
        InvoiceRow { id: period.invoice_id(), invoice, finalised_unix_ms: 99 }
    };
    let first = row(10, 5);
    assert!(invoices.finalise(first.clone(), act()).await.unwrap());
    assert!(!invoices.finalise(row(10, 6), act()).await.unwrap(), "what is finalised stays");
    assert_eq!(invoices.get(workspace, first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(invoices.get(founding(2).workspace.id, first.id).await.unwrap(), None);
    assert_eq!(invoices.find(first.id).await.unwrap(), Some(first.clone()));
    let second = row(20, 5);
    invoices.finalise(second.clone(), act()).await.unwrap();
    let page = invoices.list(workspace, Page::first(1)).await.unwrap();
    assert_eq!((page.rows, page.next), (vec![second.clone()], Some(second.id)));
    let page = invoices.list(workspace, Page { limit: 1, after: Some(second.id) }).await.unwrap();
    assert_eq!((page.rows, page.next), (vec![first], None));
}

pub async fn acts_are_those_of_keys_and_people(fresh: &Fresh) {
    let (store, workspace) = (&fresh.store, fresh.founding.workspace.id);
    let by = |actor: &str| Act::new(&World::system(), actor, None);
    let key = fresh.founding.keys[0].id.to_string();
    for (number, actor) in [key.as_str(), "mem_1", "system", "vault"].into_iter().enumerate() {
        store.projects().create(project(workspace, 50 + number as u64), by(actor)).await.unwrap();
    }
    let period = |start_unix_ms, end_unix_ms| Period { workspace, start_unix_ms, end_unix_ms };
    assert_eq!(store.invoices().acts(period(0, u64::MAX >> 1)).await.unwrap(), 2);
    assert_eq!(store.invoices().acts(period(0, 1)).await.unwrap(), 0);
}
