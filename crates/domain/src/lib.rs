//! The product's vocabulary as types: calls, credentials, prices, faults, limits. No I/O and no clock.

pub mod abilities;
pub mod adapters;
pub mod agent;
pub mod agreement;
pub mod alias;
pub mod allowance;
pub mod api_key;
pub mod app;
pub mod audit;
pub mod auth;
pub mod batch;
mod brief_debug;
pub mod caching;
pub mod calendar;
pub mod conditions;
pub mod dialect;
pub mod event;
pub mod fault;
pub mod fault_codes;
pub mod fault_page;
pub mod file;
pub mod flow_app;
pub mod forecast;
pub mod grants;
pub mod hash;
pub mod hints;
pub mod hosting;
pub mod ids;
pub mod inference_task;
pub mod kept_names;
pub mod limits;
pub mod master_key;
pub mod modality;
pub mod money;
pub mod operation;
mod pattern;
pub mod policy;
pub mod ports;
pub mod profile;
pub mod prompt;
pub mod purge;
pub mod record;
pub mod retention;
pub mod reuse;
pub mod role;
pub mod route;
pub mod runtime;
pub mod secret;
pub mod semantic;
pub mod server;
mod side_call;
pub mod stored_object;
pub mod strategy;
pub mod subscription;
pub mod task;
pub mod tier;
pub mod timeline;
pub mod tools;
pub mod training;
pub mod upload;
pub mod usage;
pub mod vocabulary;
mod words;

pub use abilities::{Abilities, Thinking};
pub use agent::{AgentStore, FoundAgent, NoAgents, StoredAgent};
pub use agreement::{AgreedLimits, Agreement, Commitment, CommitmentPeriod, OverflowReason};
pub use alias::{AliasPick, AliasReleaseSpec, AliasSplit, AliasTarget, Canary, CanaryGates, ReleaseChoice};
pub use allowance::{
    Budget, BudgetClaim, Counts, Drawn, Limits, OnReached, Period, RateLimitState, RateLimitStates, Subject,
    Terms,
};
pub use app::{
    AppDefinition, AppRequirement, AppSecret, DeclaredApp, FoundApp, MissingSecret, ReadyApp,
    SecretDefinition,
};
pub use auth::AuthKind;
pub use batch::{
    BatchCost, BatchCounts, BatchNotKept, BatchStore, EndedItem, FoundBatch, ItemOutcome, NewBatch,
    NoBatches, OwnBatch, ResultsFile,
};
pub use caching::{CacheFacts, CacheMode, CachePolicy, CacheRecord, ResponseCacheMode, SemanticCache};
pub use conditions::{
    ConditionFacts, ConditionStrength, RequestTraits, RouteConditions, TimeWindow, Weekdays,
};
pub use dialect::{Dialect, Grammar};
pub use event::{Event, Finish, PartKind, Reason};
pub use fault::{Blame, Fault, FaultClass, Refuser, UpstreamReport};
pub use file::{
    FileEnd, FilePiece, FileQuery, FileStore, KeptFile, NewFile, NoFiles, OpenFile, StoredBytes, TASK_FILE,
    USER_FILE, file_of_object,
};
pub use flow_app::{FlowNotStarted, FlowProgress, FlowStart, FlowStore, FoundFlow, NoFlows, StoredFlow};
pub use hash::{IdHasher, IdMap};
pub use hints::{Hints, PassedOver, Priority, Qos, QosClass, ReadHints, ReadQos, Why};
pub use hosting::Hosting;
pub use ids::{
    AccountId, AgentId, AlertRuleId, AliasId, AliasReleaseId, AppId, ArtifactId, AuditId, BranchId, BudgetId,
    BundleId, CredentialId, DataExportId, DataPlaneId, DiagnosticsId, EndUserId, EventId, FileId, FlowId,
    FlowRunId, HintsId, IdText, InvoiceId, JoinTokenId, KeyId, LegalHoldId, McpServerId, MemberId, NodeId,
    PolicyId, ProjectId, PurgeJobId, ReceiptId, ReconciliationId, ReplayRunId, ResponseId, RouteId, ScoreId,
    SecretId, SessionEventId, SessionId, SnapshotId, SubscriptionId, TaskId, ToolId, TraceId, WebhookId,
    WorkspaceId,
};
pub use kept_names::KeptName;
pub use modality::Modality;
pub use money::{Nanos, Price, Rates, UnitRates};
pub use operation::Operation;
pub use pattern::ModelPattern;
pub use policy::{
    CheckAction, CheckCount, CheckedSide, ContentCheck, DataBoundary, Detector, FileKind, HookCall,
    HookOutcome, HookPoint, HookSecret, HookServer, OnSilence, ParameterRule, Policies, Policy, PolicyHook,
    PolicyRule, PolicySpec, RegionPolicy, RequestRules, Thousandths, host_of, narrowed_models,
    narrowed_names,
};
pub use profile::{Mode, Principal, Profile, SecretOwner};
pub use prompt::{Json, Prompt};
pub use record::{AttemptRecord, Charge, MeterRecord, Outcome, Priced};
pub use retention::{ContentRetention, Retention, RetentionBasis, TraceMode};
pub use reuse::{CacheTier, CachedAnswer, InputCost, PromptReuse, ReuseEvidence, Waterfall};
pub use role::Role;
pub use route::{ByokFallback, FallbackClass, ModelFallback, ModelFallbackClass, RouteScope, RouteSpec};
pub use secret::{ContentKind, Sealed, Secret};
pub use server::{Evidence, Finding, MissingFeatures, ProbeResult, ServerFacts, ServerFeature};
pub use side_call::{SideCall, SideCallPurpose};
pub use stored_object::{
    FilesKeeper, FoundObject, ObjectListQuery, ObjectOwner, StoredKind, StoredObject, StoredObjectId,
    StoredObjectKind,
};
pub use strategy::Strategy;
pub use subscription::{Subscription, UsageWindow, WindowUse};
pub use task::{
    FoundTask, NewTask, NoTasks, QueuePlace, RunTask, TaskAgain, TaskContents, TaskEnd, TaskEvent, TaskLease,
    TaskListQuery, TaskLogLine, TaskNotKept, TaskPriority, TaskStatus, TaskStore,
};
pub use tier::{HostedTool, HostedTools, PriceTerms, Tier};
pub use timeline::Timeline;
pub use tools::{
    CallOutcome, DeclaredServer, DeclaredTool, DeclaredTools, NoTools, ToolCallRecord, ToolStore,
};
pub use upload::Upload;
pub use usage::{FirstUnits, Later, Units, Usage, UsageSource, split_media};
pub use vocabulary::Vocabulary;
