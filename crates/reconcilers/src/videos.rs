//! Billing of generated videos: polls each until it has ended, then books its seconds once, whether or not a
//! client ever polled it.

use conversation::video::{VideoObject, VideoState};
use domain::{
    Dialect, ObjectOwner, Operation, Price, Rates, StoredObject, StoredObjectId, TraceId, Units, Usage,
    UsageSource,
};
use jobs::Outcome;
use store::JobRow;

use crate::Deps;
use crate::async_billing::{BilledUsage, GONE, ObjectBilling, lost, lost_if_repeated};

/// Makes `find` return deleted objects too: they are hidden, but remain until they are booked.
const HIDDEN_TOO: u64 = 0;

/// One poll.
pub(crate) async fn poll(
    deps: &Deps,
    owner: ObjectOwner,
    id: StoredObjectId,
    job: &JobRow,
) -> Result<Outcome, String> {
    let objects = deps.store.kept_objects();
    let found = objects.find(owner, id, HIDDEN_TOO).await.map_err(|error| error.to_string())?;
    let snapshot = deps.keeper.current();
    let Some(object) = found else { return Ok(lost(&snapshot, owner)) };
    if object.is_booked {
        return Ok(Outcome::Done);
    }
    let Some(books) = ObjectBilling::of(deps, &snapshot, owner, id, &object) else {
        return lost_if_repeated(job, "the credential or the project of the video no longer exists");
    };
    let seen = see(&books, id, &object).await?;
    if seen.video.state == VideoState::InProgress && !seen.is_last {
        return Err("it is not made yet".to_owned());
    }
    let ended_unix_s = seen.video.completed_unix_s.unwrap_or(seen.video.created_unix_s);
    let unix_ms = ended_unix_s.saturating_mul(1_000);
    let trace = deps.vault.requests.of_item(unix_ms, id, "");
    if seen.video.state == VideoState::Completed {
        let claims = objects.holds(id).await.map_err(|error| error.to_string())?;
        let used = billed_usage(&books, &object, &seen.video, (trace, unix_ms));
        books.context.book(vec![books.context.record_of(used, &claims)]).await?;
    }
    objects.book(owner, id, trace).await.map_err(|error| error.to_string())?;
    if object.until_unix_ms.is_some() {
        objects.forget(owner, id).await.map_err(|error| error.to_string())?;
    }
    Ok(Outcome::Done)
}

/// What is known of a video.
struct Seen {
    video: VideoObject,
    /// No later poll will find out more.
    is_last: bool,
}

/// For a video that its provider no longer has, the last stored state tells whether it was made.
async fn see(books: &ObjectBilling<'_>, id: StoredObjectId, object: &StoredObject) -> Result<Seen, String> {
    let last = || Seen {
        video: conversation::video::read_video(object.list_entry.as_bytes()).unwrap_or_default(),
        is_last: true,
    };
    if object.until_unix_ms.is_some() {
        return Ok(last());
    }
    match books.context.fetch_object(Operation::Video, &object.provider_id).await {
        Ok(body) => {
            books.update_listing(id, &object.provider_id, &body).await?;
            let video =
                conversation::video::read_video(&body).ok_or("its provider's answer can't be read")?;
            Ok(Seen { video, is_last: false })
        }
        Err(error) if error.starts_with(GONE) => Ok(last()),
        Err(error) => Err(error),
    }
}

fn billed_usage(
    books: &ObjectBilling<'_>,
    object: &StoredObject,
    video: &VideoObject,
    (trace, unix_ms): (TraceId, u64),
) -> BilledUsage {
    let units = Units {
        video_ms: video.video_ms.unwrap_or_default(),
        billed: video.billed.unwrap_or_default(),
        ..Units::default()
    };
    let usage =
        units.has_counts().then(|| Usage { units, source: UsageSource::Provider, ..Usage::default() });
    BilledUsage {
        trace,
        unix_ms,
        operation: Operation::Video,
        dialect: Dialect::Chat,
        resolution: "video",
        requested: object.model.clone(),
        resolved: object.model.clone(),
        upstream_model: object.upstream_model.clone(),
        status: 200,
        fault_code: None,
        upstream_request_id: None,
        usage: usage.unwrap_or_default(),
        rates: rates(books, object).filter(|rates| is_reported(rates, video)),
        made_for: None,
    }
}

/// Whether the units that the video is priced by were reported; an unreported count is not zero.
fn is_reported(rates: &Rates, video: &VideoObject) -> bool {
    let is_missing = |price: Option<Price>, count: Option<u64>| price.is_some() && count.is_none();
    !is_missing(rates.units.billed, video.billed) && !is_missing(rates.units.video_ms, video.video_ms)
}

/// The price agreed for the credential, or the provider's list price.
fn rates(books: &ObjectBilling<'_>, object: &StoredObject) -> Option<Rates> {
    let StoredObject { model, upstream_model, .. } = object;
    let own =
        books.context.target.seat.pricing().iter().find(|(own, _)| own == model || own == upstream_model);
    let offered =
        || books.context.snapshot.catalogue().model(model)?.offer(&books.context.target.provider)?.rates;
    own.map(|(_, rates)| *rates).or_else(offered)
}
