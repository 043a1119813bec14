//! The tools that a request offers its model beside its own, and the execution of calls to them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::Caller;
use domain::tools::{PinState, ToolDefinition};
use domain::{
    CallOutcome, DeclaredServer, DeclaredTool, Fault, FaultClass, ObjectOwner, Secret, ToolCallRecord,
    ToolId, TraceId,
};
use futures_util::StreamExt as _;
use futures_util::stream;
use line::Core;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tools::{
    CALL_TIME_MAX, CallFailure, LIST_TIME_MAX, McpSession, NAME_BYTES_MAX, Reach, ServerAddress, ToolAnswer,
    needs_authorization,
};

use crate::app_tool;
use crate::forms::NamedServer;
use crate::kept_results::{KeptResults, READ_RESULT};
use crate::limits::{APP_TIME_MAX, CALLS_AT_ONCE_MAX, CALLS_OF_STEP_MAX, LIST_AGE_MAX, OFFERED_MAX};
use crate::native::{Call, CallResult};
use crate::wish::Named;

/// An MCP server, with the session that its calls share.
pub(crate) struct Seat {
    /// Its id; empty for one that the request names itself.
    declared: String,
    /// Its name.
    pub label: String,
    source: Source,
    session: OnceCell<McpSession>,
}

/// Where a session with a server begins.
enum Source {
    Declared(Box<DeclaredServer>),
    /// The request names its address.
    Named(ServerAddress),
}

/// What becomes of a call.
enum Target {
    /// The client executes it.
    Client,
    Http(DeclaredTool),
    /// By the number of its server, and its name there.
    Mcp(usize, String),
    /// By its id, and the name of the app that it runs.
    App(ToolId, String),
}

/// A tool as it is offered.
pub(crate) struct Offered {
    pub description: String,
    pub parameters: Value,
    pub needs_approval: bool,
    target: Target,
}

/// The tools of one request, by the names that the model knows.
#[derive(Default)]
pub(crate) struct Toolset {
    pub offered: BTreeMap<String, Offered>,
    pub seats: Vec<Seat>,
    pub kept: KeptResults,
    /// For whom apps are run.
    caller: Option<Caller>,
}

/// A call that was executed.
pub(crate) struct Executed {
    pub result: CallResult,
    pub record: ToolCallRecord,
}

/// Which request the calls are made for, and by which step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion {
    pub owner: ObjectOwner,
    pub request: TraceId,
    pub step: u32,
    /// The place of its first call among those of the request.
    pub place: u32,
    /// What is left of the request's time.
    pub time_left: Duration,
    /// The longest result that is given at once.
    pub result_bytes_max: usize,
}

fn fault(class: FaultClass, code: &'static str, message: String, fix: &'static str) -> Box<Fault> {
    Box::new(Fault::new(class, code, message).fix(fix).param("Agent-Tools"))
}

/// A schema of arguments. Providers refuse one of an object that names no properties, and servers list such.
pub(crate) fn read_schema(text: &str) -> Value {
    let mut schema: Value = serde_json::from_str(text).unwrap_or_default();
    match &mut schema {
        Value::Object(fields) if fields.get("type").is_none_or(|kind| kind == "object") => {
            fields.entry("type").or_insert_with(|| "object".into());
            fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
            schema
        }
        Value::Object(_) => schema,
        _ => serde_json::json!({"type": "object", "properties": {}}),
    }
}

/// The name by which the model knows a tool of a server: every format takes it.
pub(crate) fn name_of(server: &str, tool: &str) -> String {
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "_-".contains(letter) { letter } else { '_' };
    format!("{server}__{tool}").chars().map(plain).take(NAME_BYTES_MAX).collect()
}

fn not_authorized(server: &str) -> Box<Fault> {
    let message = format!("The MCP server \"{server}\" needs a person's authorization.");
    let fix = "POST /v2/mcp-servers/ID/authorize begins it, and so does `tidegate mcp-server authorize`.";
    fault(FaultClass::Conflict, "mcp_authorization_needed", message, fix)
}

fn reach(core: &Core, owner: ObjectOwner) -> Reach {
    Reach::new(&core.deps.egress, &core.tools, &core.deps.world, owner)
}

/// Calls a tool in the session with its server. One whose token ran out meanwhile has made no call yet: it is called once more,
/// in another session.
async fn call_server(
    core: &Core,
    owner: ObjectOwner,
    seat: &Seat,
    tool: &str,
    arguments: Map<String, Value>,
) -> Result<ToolAnswer, CallFailure> {
    let reach = reach(core, owner);
    let opening = async || match &seat.source {
        Source::Declared(server) => tools::open(&reach, server, None).await,
        Source::Named(address) => McpSession::open(&core.deps.egress, address).await,
    };
    let session = seat.session.get_or_try_init(opening).await?;
    let answer = session.call(tool, arguments.clone()).await;
    if let (Source::Declared(server), Err(failure)) = (&seat.source, &answer) {
        reach.note_refusal(server, failure).await;
    }
    let is_unauthorized = answer.as_ref().is_err_and(|failure| failure.is_unauthorized);
    let (Source::Declared(server), Some(token), true) = (&seat.source, session.token(), is_unauthorized)
    else {
        return answer;
    };
    let session = tools::open(&reach, server, Some(token)).await?;
    let answer = session.call(tool, arguments).await;
    session.close().await;
    answer
}

impl Toolset {
    /// The tools of a project that a request names.
    ///
    /// # Errors
    /// There is no such tool or server, or it can't be read now.
    pub(crate) async fn of_project(
        core: &Core,
        owner: ObjectOwner,
        named: &Named,
    ) -> Result<Self, Box<Fault>> {
        let Some(declared) = core.tools.declared(owner).await else {
            let fix = "Send the request again in a moment.";
            let message = "The project's tools can't be read right now.".to_owned();
            let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
            return Err(Box::new(fault.fix(fix).retry_after_ms(1_000)));
        };
        if let Named::These(names) = named {
            let is_known = |name: &String| {
                declared.tools.iter().any(|tool| tool.name == *name)
                    || declared.servers.iter().any(|server| server.name == *name)
            };
            if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
                let excerpt: String = unknown.chars().take(64).collect();
                let message =
                    format!("The project has no tool or MCP server \"{excerpt}\" that is switched on.");
                let fix = "GET /v2/tools and GET /v2/mcp-servers list them.";
                return Err(fault(FaultClass::BadRequest, "tool_not_found", message, fix));
            }
        }
        let mut set = Self::default();
        for tool in declared.tools.into_iter().filter(|tool| named.has(&tool.name)) {
            set.add_tool(tool)?;
        }
        for server in declared.servers.into_iter().filter(|server| named.has(&server.name)) {
            let is_needed = !matches!(named, Named::All);
            set.add_server(core, owner, server, is_needed).await?;
        }
        Ok(set)
    }

    /// The same for a caller, for whom those that are apps are run.
    ///
    /// # Errors
    /// Those of `of_project`.
    pub(crate) async fn for_caller(
        core: &Rc<Core>,
        caller: &Caller,
        named: &Named,
    ) -> Result<Self, Box<Fault>> {
        let mut set = Self::of_project(core, caller.owner(), named).await?;
        for offered in set.offered.values_mut() {
            let Target::App(_, app) = &offered.target else { continue };
            // What the project says of the arguments goes before what the app takes.
            let is_stated = offered.parameters.get("properties").is_some_and(|stated| *stated != json!({}));
            if let Some(schema) = core.apps.input_schema(core, caller, app).await.filter(|_| !is_stated) {
                offered.parameters = schema;
            }
        }
        set.caller = Some(caller.clone());
        Ok(set)
    }

    fn add_tool(&mut self, tool: DeclaredTool) -> Result<(), Box<Fault>> {
        let ToolDefinition { description, parameters, needs_approval, http, app, .. } = &tool.definition;
        let offered = Offered {
            description: description.clone(),
            parameters: read_schema(parameters),
            needs_approval: *needs_approval,
            target: match app {
                Some(app) => Target::App(tool.id, app.clone()),
                None if http.is_some() => Target::Http(tool.clone()),
                None => Target::Client,
            },
        };
        self.offer(tool.name, offered)
    }

    /// Adds the tools of a server that are accepted as they are listed now.
    async fn add_server(
        &mut self,
        core: &Core,
        owner: ObjectOwner,
        mut server: DeclaredServer,
        is_needed: bool,
    ) -> Result<(), Box<Fault>> {
        if needs_authorization(&server) {
            return if is_needed { Err(not_authorized(&server.name)) } else { Ok(()) };
        }
        let now_unix_ms = core.deps.world.clock.unix_ms();
        let age_max = u64::try_from(LIST_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let is_fresh =
            server.state.checked_unix_ms.is_some_and(|at| now_unix_ms.saturating_sub(at) < age_max);
        if !is_fresh {
            let listing = tools::list(&reach(core, owner), &server).await;
            if listing.as_ref().is_err_and(|failure| failure.is_unauthorized) && is_needed {
                return Err(not_authorized(&server.name));
            }
            let listing = listing.map_err(|failure| failure.text);
            if let Some(state) = core.tools.note_listing(owner, server.id, listing).await {
                server.state = state;
            }
        }
        if server.state.tools.is_empty() && is_needed {
            let why = server.state.error.as_deref().unwrap_or("It lists no tools.");
            let message = format!("The MCP server \"{}\" offers no tools now. {why}", server.name);
            let fix = "POST /v2/mcp-servers/ID/refresh reads it again, and says what is wrong.";
            return Err(fault(FaultClass::Unavailable, "mcp_server_unavailable", message, fix));
        }
        let seat = self.seats.len();
        let accepted = server
            .state
            .tools
            .iter()
            .filter(|pin| pin.state == PinState::Accepted && server.definition.allows(&pin.tool.name));
        for pin in accepted {
            let offered = Offered {
                description: pin.tool.description.clone(),
                parameters: read_schema(&pin.tool.parameters),
                needs_approval: server.definition.approval.is_needed(&pin.tool.name),
                target: Target::Mcp(seat, pin.tool.name.clone()),
            };
            self.offer(name_of(&server.name, &pin.tool.name), offered)?;
        }
        let (declared, label) = (server.id.to_string(), server.name.clone());
        let source = Source::Declared(Box::new(server));
        self.seats.push(Seat { declared, label, source, session: OnceCell::new() });
        Ok(())
    }

    /// Adds the tools of a server that the request names itself, and returns them as they are listed.
    pub(crate) async fn add_named(
        &mut self,
        core: &Core,
        caller: &Caller,
        named: NamedServer,
    ) -> Result<Vec<Value>, Box<Fault>> {
        let headers =
            named.headers.into_iter().map(|(name, value)| (name, Arc::new(Secret::from_text(value))));
        let address =
            ServerAddress { url: named.url, headers: headers.collect(), owner: caller.workspace().id };
        let opened = async {
            let session = McpSession::open(&core.deps.egress, &address).await?;
            let tools = session.list_tools().await?;
            Ok::<_, CallFailure>((session, tools))
        };
        let opened = timeout(LIST_TIME_MAX, opened).await;
        let opened = opened.unwrap_or_else(|_| {
            Err(CallFailure::new(CallOutcome::Timeout, "The MCP server did not answer in time."))
        });
        let (session, tools) = opened.map_err(|failure| {
            let message = format!("The MCP server \"{}\" can't be used. {}", named.label, failure.text);
            let fix = "Check its address and credentials, or leave it out.";
            // Clients send a 503 again, and these credentials are refused each time.
            let is_wrong = failure.is_unauthorized || failure.outcome == CallOutcome::Refused;
            let (class, code) = if is_wrong {
                (FaultClass::BadRequest, "mcp_server_refused")
            } else {
                (FaultClass::Unavailable, "mcp_server_unavailable")
            };
            Box::new(Fault::new(class, code, message).fix(fix).param(named.place))
        })?;
        let (seat, mut listed) = (self.seats.len(), Vec::new());
        for tool in tools {
            // Nobody can accept what gives the model orders.
            let is_allowed = named.allowed.as_ref().is_none_or(|names| names.contains(&tool.name));
            if !is_allowed || tool.suspicion.is_some() {
                continue;
            }
            let parameters = read_schema(&tool.parameters);
            listed.push(serde_json::json!({
                "name": tool.name, "description": tool.description, "input_schema": parameters, "annotations": null,
            }));
            let offered = Offered {
                description: tool.description,
                parameters,
                needs_approval: named.approval.is_needed(&tool.name),
                target: Target::Mcp(seat, tool.name.clone()),
            };
            self.offer(name_of(&named.label, &tool.name), offered)?;
        }
        let session = OnceCell::new_with(Some(session));
        let source = Source::Named(address);
        self.seats.push(Seat { declared: String::new(), label: named.label, source, session });
        Ok(listed)
    }

    /// The server and tool of a call that its client is told of, since the request names the server itself.
    pub(crate) fn origin(&self, name: &str) -> Option<(&str, &str)> {
        let Target::Mcp(seat, tool) = &self.offered.get(name)?.target else { return None };
        let seat = self.seats.get(*seat).filter(|seat| seat.declared.is_empty())?;
        Some((&seat.label, tool))
    }

    /// Whether a call is nothing that its client gets as it is.
    pub(crate) fn hides(&self, name: &str) -> bool {
        self.runs(name) || self.origin(name).is_some()
    }

    fn offer(&mut self, name: String, offered: Offered) -> Result<(), Box<Fault>> {
        if self.offered.len() >= OFFERED_MAX {
            let message = format!("The request would offer its model more than {OFFERED_MAX} tools.");
            return Err(fault(FaultClass::BadRequest, "too_many_tools", message, "Name fewer of them."));
        }
        if self.offered.contains_key(&name) {
            let message = format!("Two tools of the project have the name \"{name}\" for the model.");
            let fix = "Rename one of them, or its MCP server.";
            return Err(fault(FaultClass::BadRequest, "tool_name_taken", message, fix));
        }
        self.offered.insert(name, offered);
        Ok(())
    }

    /// Refuses a name that a tool of the request itself has.
    pub(crate) fn check_names(&self, own: &[String]) -> Result<(), Box<Fault>> {
        let Some(name) = own.iter().find(|name| self.offered.contains_key(*name)) else { return Ok(()) };
        let message = format!("The request defines a tool \"{name}\", and so does the project.");
        let fix = "Leave the tool out of the request, or don't name it in Agent-Tools.";
        Err(fault(FaultClass::BadRequest, "tool_name_taken", message, fix))
    }

    /// Lets the model read on in long results, unless a tool has the name of the one that does.
    pub(crate) fn let_read_on(&self, own: &[String]) {
        let is_taken = self.offered.contains_key(READ_RESULT) || own.iter().any(|name| name == READ_RESULT);
        self.kept.is_read.set(!is_taken);
    }

    /// Whether this is the tool that reads on in long results, of which there are some.
    fn reads_on(&self, name: &str) -> bool {
        name == READ_RESULT && !self.kept.is_empty()
    }

    /// Whether the gateway executes calls of this tool, once they are approved.
    pub(crate) fn executes(&self, name: &str) -> bool {
        self.reads_on(name)
            || self.offered.get(name).is_some_and(|offered| match offered.target {
                Target::Client => false,
                Target::App(..) => self.caller.is_some(),
                Target::Http(_) | Target::Mcp(..) => true,
            })
    }

    /// Whether the gateway executes calls of this tool at once.
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.executes(name) && self.offered.get(name).is_none_or(|offered| !offered.needs_approval)
    }

    /// Executes calls, some at the same time; their results are in the order of the calls.
    pub(crate) async fn execute(&self, core: &Rc<Core>, calls: &[Call], occasion: Occasion) -> Vec<Executed> {
        let calls = calls.iter().enumerate();
        let executing = calls.map(|(at, call)| async move {
            let place = occasion.place.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
            let occasion = Occasion { place, ..occasion };
            if at >= CALLS_OF_STEP_MAX {
                let text = "Too many calls in one step: this one was not made.";
                return self.ended(
                    core,
                    call,
                    occasion,
                    0,
                    Err(CallFailure::new(CallOutcome::Refused, text)),
                );
            }
            let started_us = core.deps.world.clock.monotonic_us();
            let outcome = self.call(core, call, occasion).await;
            self.ended(core, call, occasion, started_us, outcome)
        });
        stream::iter(executing).buffered(CALLS_AT_ONCE_MAX).collect().await
    }

    /// Calls that the client did not approve.
    pub(crate) fn refuse(&self, core: &Core, calls: &[Call], occasion: Occasion) -> Vec<Executed> {
        let refused = |(at, call): (usize, &Call)| {
            let place = occasion.place.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
            let failure = CallFailure::new(CallOutcome::NotApproved, "The user did not approve this call.");
            self.ended(core, call, Occasion { place, ..occasion }, 0, Err(failure))
        };
        calls.iter().enumerate().map(refused).collect()
    }

    async fn call(
        &self,
        core: &Rc<Core>,
        call: &Call,
        occasion: Occasion,
    ) -> Result<ToolAnswer, CallFailure> {
        let Some(arguments) = call.arguments.clone() else {
            let text = "The arguments aren't a JSON object. Call the tool again with one.";
            return Err(CallFailure::new(CallOutcome::BadArguments, text));
        };
        let is_app = matches!(self.offered.get(&call.name), Some(Offered { target: Target::App(..), .. }));
        let time = occasion.time_left.min(if is_app { APP_TIME_MAX } else { CALL_TIME_MAX });
        match timeout(time, self.answer(core, call, arguments, occasion)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallFailure::new(CallOutcome::Timeout, "The tool did not answer in time.")),
        }
    }

    async fn answer(
        &self,
        core: &Rc<Core>,
        call: &Call,
        arguments: Map<String, Value>,
        Occasion { owner, request, .. }: Occasion,
    ) -> Result<ToolAnswer, CallFailure> {
        let client = &core.deps.egress;
        let unknown = || CallFailure::new(CallOutcome::Refused, "There is no such tool.");
        if self.reads_on(&call.name) {
            return self.kept.read(&arguments);
        }
        match &self.offered.get(&call.name).ok_or_else(unknown)?.target {
            Target::Client => Err(unknown()),
            Target::App(_, app) => {
                let caller = self.caller.as_ref().ok_or_else(unknown)?;
                app_tool::run(core, caller, (app, request), arguments).await
            }
            Target::Http(tool) => {
                let action = tool.definition.http.as_ref().ok_or_else(unknown)?;
                tools::call_http(client, owner.workspace, action, &tool.headers, &arguments).await
            }
            Target::Mcp(seat, name) => {
                let seat = self.seats.get(*seat).ok_or_else(unknown)?;
                call_server(core, owner, seat, name, arguments).await
            }
        }
    }

    fn ended(
        &self,
        core: &Core,
        call: &Call,
        occasion: Occasion,
        started_us: u64,
        answer: Result<ToolAnswer, CallFailure>,
    ) -> Executed {
        let clock = &core.deps.world.clock;
        let duration_ms =
            if started_us == 0 { 0 } else { clock.monotonic_us().saturating_sub(started_us) / 1_000 };
        let (outcome, text) = match answer {
            Ok(answer) if answer.is_error => (CallOutcome::Failed, answer.text),
            Ok(answer) => (CallOutcome::Answered, answer.text),
            Err(failure) => (failure.outcome, failure.text),
        };
        let bytes_out = text.len() as u64;
        let Occasion { owner, request, step, place, result_bytes_max, .. } = occasion;
        let shortened = self.kept.shortened(&text, result_bytes_max);
        let is_truncated = shortened.is_some();
        let text = shortened.unwrap_or(text);
        let record = ToolCallRecord {
            owner,
            request,
            step,
            place,
            name: call.name.clone(),
            declared: self.declared(&call.name),
            started_unix_ms: clock.unix_ms().saturating_sub(duration_ms),
            duration_ms,
            outcome,
            bytes_in: call.bytes,
            bytes_out,
            is_truncated,
        };
        let is_error = outcome != CallOutcome::Answered;
        let result = CallResult { id: call.id.clone(), name: call.name.clone(), text, is_error };
        Executed { result, record }
    }

    fn declared(&self, name: &str) -> String {
        match self.offered.get(name).map(|offered| &offered.target) {
            Some(Target::Http(tool)) => tool.id.to_string(),
            Some(Target::App(id, _)) => id.to_string(),
            Some(Target::Mcp(seat, _)) => {
                self.seats.get(*seat).map(|seat| seat.declared.clone()).unwrap_or_default()
            }
            Some(Target::Client) | None => String::new(),
        }
    }

    /// Ends the sessions of its servers.
    pub(crate) async fn close(self) {
        for session in self.seats.into_iter().filter_map(|seat| seat.session.into_inner()) {
            session.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Offered {
        let (description, parameters) = (String::new(), read_schema("{"));
        Offered { description, parameters, needs_approval: false, target: Target::Client }
    }

    #[test]
    fn a_request_offers_so_many_tools_and_each_name_once() {
        let mut set = Toolset::default();
        for number in 0..OFFERED_MAX {
            set.offer(format!("tool-{number}"), offered()).unwrap();
        }
        assert_eq!(set.offer("more".to_owned(), offered()).unwrap_err().code, "too_many_tools");
        let mut set = Toolset::default();
        set.offer("one".to_owned(), offered()).unwrap();
        assert_eq!(set.offer("one".to_owned(), offered()).unwrap_err().code, "tool_name_taken");
        assert_eq!(set.check_names(&["one".to_owned()]).unwrap_err().code, "tool_name_taken");
        assert!(!set.executes("one") && !set.runs("one") && set.check_names(&["two".to_owned()]).is_ok());
    }

    #[test]
    fn the_name_of_a_servers_tool_is_one_that_every_format_takes() {
        assert_eq!(name_of("docs", "search.v2/all"), "docs__search_v2_all");
        assert_eq!(name_of("docs", &"x".repeat(100)).len(), NAME_BYTES_MAX);
    }
}
