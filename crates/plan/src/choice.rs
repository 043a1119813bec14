//! What is chosen for a call, by its operation: the one decision that serving a call and explaining it share.

use std::borrow::Cow;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use admit::{Call, Caller};
use board::AvailabilityView;
use catalogue::Capability;
use domain::hosting::BatchPlaces;
use domain::limits::PREFIX_PROMPT_BYTES_MIN;
use domain::ports::{FoundResponse, StoredResponse};
use domain::record::Rejected;
use domain::{
    CacheMode, Fault, IdHasher, Modality, Operation, Policies, Principal, Profile, RequestTraits, SessionId,
    StoredObjectKind, WorkspaceId,
};
use snapshot::{AliasEntry, ReleaseEntry};

use crate::aliases::{SplitBy, find_named, split_key};
use crate::attempt::Attempt;
use crate::batches::{Named, decide_batch, held_to_rules, keepers_of_batch};
use crate::broker::{Decision, UNROUTED, decide};
use crate::fallbacks::{self, PlannedFallback, next_model, rejected_model};
use crate::prompt_view::PromptView;
use crate::question::{PlanInput, PlanQuery, RequestNeeds, RequestSize, RequiredSeat, SeatHas};
use crate::uploads::{self, VideoLength, decide_upload};
use crate::{candidates, capabilities, faults, request_policy};

/// A call with its caller, admitted or not, and the environment that it counts for.
#[derive(Clone, Copy)]
pub(crate) struct CallQuery<'a> {
    pub call: &'a Call,
    pub caller: &'a Caller,
    pub environment: &'a str,
    pub prompt: &'a PromptView<'a>,
    /// Those of the function `traits_of`.
    pub traits: Option<&'a RequestTraits>,
}

/// The time and the chance of a decision.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub random: u64,
    /// Replaces `random` among accounts.
    pub affinity: &'a dyn Fn() -> Option<u64>,
    pub prefix_ends: &'a dyn Fn() -> Vec<(u64, u64)>,
    pub now_us: u64,
    pub now_unix_ms: u64,
}

/// A decision, with what it means for the call.
pub(crate) struct Choice<'a> {
    pub decision: Decision<'a>,
    /// The provider's names of the models in a batch's requests, in order.
    pub upstream_models: Vec<String>,
    /// The other models of its route, in order.
    pub fallbacks: Vec<PlannedFallback>,
    /// The other model that is planned in place of the first, and how the record shows that.
    left: Option<(Arc<str>, Rejected)>,
    /// How the seat of an existing object was found, and the object's model.
    stored: Option<(&'static str, Arc<str>)>,
}

/// What an operation asks of the seats that may serve it.
pub(crate) enum SeatNeeds<'a> {
    None,
    /// One seat for all models of a batch.
    Batch(StoredObjectKind, Vec<Named<'a>>, Option<&'a BatchPlaces>),
    /// A credential of the workspace's own, or an account whose price of a video of this length is known before it is made.
    Video(VideoLength),
    /// A seat that stores files, of this provider if one is named, and else of one of those that do.
    Files(Option<&'a str>, &'a [String]),
    /// A credential of the workspace's own that stores files, for the requests of a batch, which name these models.
    BatchFile(&'a [String], &'a [String]),
    /// A seat that caches prompts by name.
    CachedContents,
    /// A seat that no other workspace shares.
    Unshared,
}

impl<'a> Choice<'a> {
    fn failed(fault: Box<Fault>) -> Self {
        Decision::failed(fault).into()
    }

    /// The rule that resolved the model's name, the alias that it is, or how a stored object was found.
    pub fn resolution(&self) -> Cow<'static, str> {
        self.stored.as_ref().map_or_else(|| self.decision.resolution(), |(how, _)| Cow::Borrowed(how))
    }

    /// Goes on with another model where all that could serve the first one is at its limits or away.
    pub fn leave_unavailable(&mut self) {
        let decision = &mut self.decision;
        let (true, Some(fault)) =
            (decision.attempts.is_empty() && !self.fallbacks.is_empty(), &decision.fault)
        else {
            return;
        };
        let Some(seat) = decision.rejected.first().map(|rejection| &rejection.seat) else { return };
        let spec = decision.route.map_or(&*UNROUTED, |route| &route.spec);
        let next = next_model(&mut self.fallbacks, fault.class, &spec.fallback_on);
        let Some((on, next)) = next else { return };
        let from = decision.resolved.as_ref().map_or("", |resolved| &resolved.name);
        let row = rejected_model(seat, on, from, &next.model, &fault.message);
        decision.fault = None;
        decision.attempts = next.attempts;
        self.left = Some((next.model, row));
    }

    /// What the record shows of a model that was left for another one.
    pub fn left(&self) -> Option<&Rejected> {
        self.left.as_ref().map(|(_, row)| row)
    }

    /// Empty if the name could not be resolved.
    pub fn resolved_model(&self) -> Arc<str> {
        match (&self.stored, &self.left, &self.decision.resolved) {
            (Some((_, model)), _, _) | (None, Some((model, _)), _) => Arc::clone(model),
            (None, None, Some(resolved)) => Arc::clone(&resolved.name),
            (None, None, None) => Arc::default(),
        }
    }
}

impl<'a> From<Decision<'a>> for Choice<'a> {
    fn from(decision: Decision<'a>) -> Self {
        Self { decision, upstream_models: Vec::new(), fallbacks: Vec::new(), left: None, stored: None }
    }
}

/// The names that stand for the providers that store files, where the call is about something stored.
pub(crate) fn keepers(query: CallQuery<'_>) -> Vec<String> {
    let (call, catalogue) = (query.call, query.caller.snapshot().catalogue());
    if call.is_about_object() { uploads::names(catalogue, call.dialect()) } else { Vec::new() }
}

/// Chooses the seats for a call. `keepers` are those of the function of that name.
pub(crate) fn choose_for_call<'a>(
    query: CallQuery<'a>,
    moment: &Moment<'a>,
    keepers: &'a [String],
    board: &dyn AvailabilityView,
) -> Choice<'a> {
    let call = query.call;
    if matches!(call.found_response(), Some(FoundResponse::StoreUnavailable)) {
        return Choice::failed(faults::makers_unknown());
    }
    if let Some(fault) = request_policy::fault(query).or_else(|| files_fault(call)) {
        return Choice::failed(fault);
    }
    if call.names_stored() && remixed(call).is_none() {
        return choose_for_stored(query, moment);
    }
    let input = input_of(query, moment);
    let mut choice = choose(&input, seat_needs(call, keepers), board);
    let facts = call.spec().facts();
    // A session's responses are planned one by one on its seat, and a count is of one model.
    if facts.is_session || facts.only_counts {
        choice.fallbacks.clear();
    }
    request_policy::reject_dear(query, &input, &mut choice);
    choice.leave_unavailable();
    choice
}

/// Chooses the seats for what an operation asks of them.
pub(crate) fn choose<'a>(
    input: &PlanInput<'a>,
    needs: SeatNeeds<'a>,
    board: &dyn AvailabilityView,
) -> Choice<'a> {
    let policies = input.query.project.policy.as_deref();
    match needs {
        SeatNeeds::Batch(_, _, None) if policies.is_some_and(Policies::reads_requests) => {
            Decision::failed(held_to_rules()).into()
        }
        SeatNeeds::BatchFile(..) if policies.is_some_and(request_policy::holds_each_request) => {
            Decision::failed(held_to_rules()).into()
        }
        SeatNeeds::None => {
            let decision = decide(input, board);
            Choice { fallbacks: fallbacks::planned(input, &decision, board), ..decision.into() }
        }
        SeatNeeds::Batch(kind, models, storage) => {
            let (decision, upstream_models) = decide_batch(input, (kind, models), storage, board);
            Choice { upstream_models, ..decision.into() }
        }
        SeatNeeds::Video(length) => uploads::of_video(decide(input, board), length).into(),
        SeatNeeds::Files(provider, names) => {
            uploads::of_file(input, decide_upload(input, provider, names, board)).into()
        }
        SeatNeeds::BatchFile(models, names) => {
            let decision = decide_upload(input, None, names, board);
            let (decision, upstream_models) = keepers_of_batch(input, decision, models, board);
            Choice { upstream_models, ..decision.into() }
        }
        SeatNeeds::CachedContents => uploads::of_caches(input.catalogue, decide(input, board)).into(),
        SeatNeeds::Unshared => uploads::unpooled(decide(input, board), faults::background_on_account).into(),
    }
}

impl SeatNeeds<'_> {
    /// What requests of a modality ask, as far as that alone tells.
    pub(crate) const fn of_modality(modality: Modality) -> Self {
        match modality {
            Modality::Video => Self::Video(VideoLength::Unknown),
            _ => Self::None,
        }
    }
}

pub(crate) fn seat_needs<'a>(call: &'a Call, keepers: &'a [String]) -> SeatNeeds<'a> {
    if let Some((kind, models)) = bundled(call) {
        let storage = call.request().batch().and_then(|bundle| Some(&bundle.storage.as_ref()?.places));
        return SeatNeeds::Batch(kind, models, storage);
    }
    match call.object() {
        Some(_) if call.operation() == Operation::CachedContent => SeatNeeds::CachedContents,
        Some(_) if call.operation() == Operation::Video => {
            let is_stated = call.request().units.video_ms > 0;
            SeatNeeds::Video(if is_stated { VideoLength::Stated } else { VideoLength::Unstated })
        }
        Some(_) => {
            let form = call.request().form();
            let provider = form.and_then(|form| form.provider.as_deref());
            let takes_requests = call.names_kind() == Some(StoredObjectKind::FILE);
            match form.and_then(|form| form.batch_models.as_deref()).filter(|_| takes_requests) {
                Some(models) if provider.is_none() => SeatNeeds::BatchFile(models, keepers),
                _ => SeatNeeds::Files(provider, keepers),
            }
        }
        None if call.request().is_background => SeatNeeds::Unshared,
        None => SeatNeeds::None,
    }
}

/// The object that a new one of its kind is made from: by the same seat with the same model, if that may still
/// be used.
fn remixed(call: &Call) -> Option<&StoredResponse> {
    match call.found_response() {
        Some(FoundResponse::Known(known)) if call.derives_from_stored() => {
            Some(known).filter(|_| !call.is_made_from_file())
        }
        _ => None,
    }
}

/// The models that a batch names when it is made, and the kind of batch.
fn bundled(call: &Call) -> Option<(StoredObjectKind, Vec<Named<'_>>)> {
    let bundle = call.request().batch()?;
    let models = bundle.models.iter().map(|model| (&*model.name, model.path.clone()));
    Some((call.names_kind()?, models.collect()))
}

/// A call about an existing object goes to the seat that made it, and to no other.
fn choose_for_stored<'a>(query: CallQuery<'a>, moment: &Moment<'a>) -> Choice<'a> {
    let (attempt, model) = match pinned_attempt(query, moment) {
        Ok(found) => found,
        Err(fault) => return Choice::failed(fault),
    };
    let how = if query.call.is_about_object() { "kept" } else { "stored_response" };
    let decision = Decision {
        alias: None,
        resolved: None,
        route: None,
        attempts: vec![attempt],
        rejected: Vec::new(),
        resting: Vec::new(),
        fault: None,
    };
    Choice { stored: Some((how, model)), ..decision.into() }
}

fn pinned_attempt<'a>(query: CallQuery<'a>, moment: &Moment<'a>) -> Result<(Attempt, Arc<str>), Box<Fault>> {
    let call = query.call;
    let Some(FoundResponse::Known(known)) = call.found_response() else {
        let id = call.request().stored.as_ref().map_or("", |stored| &stored.id);
        return Err(match call.object() {
            Some(_) if call.is_made_from_file() => faults::unknown_input(id),
            Some(object) => faults::unknown_object(&call.operation().noun(), object.not_found, id),
            None => faults::unknown_response(id),
        });
    };
    let is_on_account = matches!(known.created_by, Principal::Account(_));
    let is_shared = call.derives_from_stored() && is_on_account;
    if is_shared && !(call.may_be_pooled() && uploads::is_for_shared_batch(known)) {
        return Err(faults::batch_on_account());
    }
    // Requests in a file have their results in files, too.
    let has_results =
        call.is_about_batch_with_models() || (is_on_account && call.operation() == Operation::File);
    if has_results && call.deletes_stored_object() && !known.is_booked {
        return Err(faults::batch_not_booked());
    }
    let moment = Moment { random: 0, affinity: &|| None, prefix_ends: &Vec::new, ..*moment };
    let attempt = candidates::pinned_attempt(&input_of(query, &moment), known, call.makes_something());
    let attempt = attempt.map_err(|rejection| {
        if call.is_about_object() {
            faults::keeper_away(&call.operation().noun(), rejection.as_ref())
        } else {
            faults::maker_away(rejection.as_ref())
        }
    })?;
    if is_shared && !attempt.seat().hosting().shared_batches {
        return Err(faults::batch_on_account());
    }
    let capability = if call.reads_stored_answer() {
        Some(Capability::ResponseRetrieval)
    } else {
        call.is_made_from_file().then_some(Capability::Batch)
    };
    let catalogue = query.caller.snapshot().catalogue();
    if let Some(fault) = capability.and_then(|one| capabilities::denied_to(catalogue, &attempt, one)) {
        return Err(fault);
    }
    Ok((attempt, known.model.as_str().into()))
}

/// Why the files that a call names can't be read, if they can't.
fn files_fault(call: &Call) -> Option<Box<Fault>> {
    match (call.files()?, call.found_response()) {
        (Err(fault), _) => Some(Box::new(fault.clone())),
        (Ok(files), Some(FoundResponse::Known(known))) if known.created_by != files.principal => {
            Some(faults::files_apart(&files.place))
        }
        (Ok(_), _) => None,
    }
}

pub(crate) fn input_of<'a>(query: CallQuery<'a>, moment: &Moment<'a>) -> PlanInput<'a> {
    let CallQuery { call, caller, environment, prompt, traits } = query;
    let source = remixed(call);
    let query = PlanQuery {
        model: source.map_or(&call.request().model, |source| &source.model),
        workspace: caller.workspace(),
        project: caller.project(),
        environment,
        key: caller.key().map(|key| key.id),
        tag: call.tag(),
        split_key: split_key_of(call, caller),
        session_key: session_key_of(call, caller),
        session_seat: call.seat(),
        modality: call.operation().modality(),
        dialect: call.dialect(),
        terms: call.request().terms,
        size: size_of(call),
        needs: needs_of(call),
        prompt: Some(prompt),
        traits,
        hints: call.hints(),
    };
    let files = call.files().and_then(Result::ok);
    let has = match (source, files) {
        (Some(_), _) => SeatHas::SourceObject,
        (None, Some(files)) => SeatHas::File(&files.place),
        (None, None) => SeatHas::Answer,
    };
    let maker = match (call.found_response(), files) {
        (Some(FoundResponse::Known(known)), _) => Some(known.created_by),
        (_, Some(files)) => Some(files.principal),
        _ => None,
    };
    let tried = || caller.trial().map(|principal| RequiredSeat { principal, has: SeatHas::Trial });
    let required = maker.map(|principal| RequiredSeat { principal, has }).or_else(tried);
    let snapshot = caller.snapshot();
    let (accounts, catalogue) = (snapshot.accounts(), snapshot.catalogue());
    let Moment { random, affinity, prefix_ends, now_us, now_unix_ms } = *moment;
    PlanInput {
        query,
        accounts,
        catalogue,
        data_plane: snapshot.data_plane(),
        required,
        random,
        affinity,
        prefix_ends,
        now_us,
        now_unix_ms,
        began_unix_ms: now_unix_ms,
    }
}

fn needs_of(call: &Call) -> RequestNeeds {
    RequestNeeds {
        is_batch: false,
        may_be_pooled: call.may_be_pooled(),
        is_background: call.request().is_background,
        continues_stored: call.continues_stored(),
        stores_prompt: call.request().cache_life().is_some(),
        is_of_stored_file: call.operation() == Operation::File && call.names_stored(),
    }
}

fn size_of(call: &Call) -> RequestSize {
    let request = call.request();
    let choices = u64::from(request.choices.max(1));
    RequestSize {
        prompt_bytes: request.prompt_bytes,
        answer_tokens: request.max_output_tokens.map(|most| most.saturating_mul(choices)),
        units: request.units,
        is_stream: request.stream,
    }
}

/// What only its body tells, if a route of the workspace asks.
pub(crate) fn traits_of(call: &Call, caller: &Caller) -> Option<RequestTraits> {
    let routes = &caller.workspace().routes;
    routes.iter().any(|route| route.spec.when.needs_traits()).then(|| call.traits())
}

/// The prefixes of a prompt that is long enough to be cached, the shortest first.
pub(crate) fn prefix_ends(query: CallQuery<'_>) -> Vec<(u64, u64)> {
    let call = query.call;
    if !call.spec().facts().continues_conversation || call.request().prompt_bytes < PREFIX_PROMPT_BYTES_MIN {
        return Vec::new();
    }
    let ends = call.prefixes(call.body()).into_iter().flat_map(|prefixes| prefixes.ends());
    ends.map(|end| (end.fingerprint, end.bytes)).collect()
}

/// Who is assigned to the targets of an alias: the session, else the end user, else the request alone. Computed only where there
/// are aliases.
fn split_key_of(call: &Call, caller: &Caller) -> u64 {
    if caller.workspace().aliases.is_empty() {
        return 0;
    }
    // An agent keeps its model within a session, whoever it serves.
    if let Some(session) = call.session() {
        return split_key(SplitBy::Session, session.as_bytes());
    }
    match call.request().end_user(call.body()) {
        Some(user) => split_key(SplitBy::EndUser, user.as_bytes()),
        None => split_key(SplitBy::Request, call.trace().as_bytes()),
    }
}

/// The release that a call's model is an alias of, as its plan will find it.
pub fn release_of<'a>(call: &Call, caller: &'a Caller) -> Option<(&'a AliasEntry, &'a ReleaseEntry)> {
    let (workspace, project) = (caller.workspace(), caller.project().id);
    let found = find_named(&call.request().model, workspace, project, || split_key_of(call, caller))?;
    Some((found.alias, found.release))
}

fn session_key_of(call: &Call, caller: &Caller) -> Option<u64> {
    Some(session_key(caller.workspace().id, call.session()?))
}

/// A hash of the workspace and the session that a call belongs to.
pub(crate) fn session_key(workspace: WorkspaceId, session: SessionId) -> u64 {
    BuildHasherDefault::<IdHasher>::default().hash_one((workspace, session))
}

/// A hash of the workspace and the session, else of the workspace and the prompt's head, if the prompt is long enough to be
/// cached.
pub(crate) fn affinity(query: CallQuery<'_>) -> Option<u64> {
    let (call, caller) = (query.call, query.caller);
    if let Some(key) = session_key_of(call, caller) {
        return Some(key);
    }
    if !call.spec().facts().continues_conversation || call.request().prompt_bytes < PREFIX_PROMPT_BYTES_MIN {
        return None;
    }
    let policy = caller.project().caching.or(&caller.workspace().caching);
    if policy.mode(Profile::ManagedProvider) != CacheMode::Apply {
        return None;
    }
    let head = call.prefixes(call.body())?.head();
    Some(BuildHasherDefault::<IdHasher>::default().hash_one((caller.workspace().id, head)))
}
