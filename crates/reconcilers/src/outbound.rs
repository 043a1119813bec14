//! Outgoing requests of the control plane.

use bytes::Bytes;
use domain::grants::McpGrant;
use domain::ports::PortFuture;
use domain::tools::McpListing;
use domain::{DeclaredServer, Fault, ObjectOwner, ProbeResult};
use execute::StoredPoll;
use line::{
    ItemAnswer, ItemCall, RuntimeReply, RuntimeRequest, SecretRenewal, TaskCall, VerifyReport, VerifyTarget,
};
use tokio::sync::mpsc;
use tools::{CallFailure, CodeOrder, SignInOrder, SignInPlan, ToolAnswer};

use crate::FlowCall;
use crate::webhooks::{PostError, Posted, Posting};

/// Outgoing requests of the control plane. They run on a serving core, as all egress does.
pub trait Outbound: Send + Sync {
    /// The cheapest real call with a credential, an account or a node.
    fn verify(&self, target: VerifyTarget) -> PortFuture<'_, VerifyReport>;
    /// Renews the access token of a subscription. The caller stores it.
    fn renew(&self, target: VerifyTarget) -> PortFuture<'_, Result<SecretRenewal, Box<Fault>>>;
    /// A few small calls that find out what a compatible server supports. `models` are those it is known to
    /// serve.
    fn probe(&self, target: VerifyTarget, models: Vec<String>) -> PortFuture<'_, ProbeResult>;
    /// One query or command to one of our own runtimes.
    fn ask_runtime(
        &self,
        target: VerifyTarget,
        request: RuntimeRequest,
    ) -> PortFuture<'_, Result<RuntimeReply, Box<Fault>>>;
    /// Reads an object or its content from a provider, for billing: the pieces as they arrive, or a fault
    /// where the stream breaks off.
    fn fetch_object(
        &self,
        target: VerifyTarget,
        poll: StoredPoll,
    ) -> mpsc::Receiver<Result<Bytes, Box<Fault>>>;
    /// Deletes an object at a provider, for a purge.
    fn delete_object(&self, target: VerifyTarget, poll: StoredPoll)
    -> PortFuture<'_, Result<(), Box<Fault>>>;
    /// Makes one request of a batch that the gateway works through, or of a replay, as its key.
    fn run_item(&self, item: ItemCall) -> PortFuture<'_, ItemAnswer>;
    /// Makes a task that was taken from the queue, and stores how it ended.
    fn run_task(&self, task: TaskCall) -> PortFuture<'_, ()>;
    /// Makes the call of a step of a flow, under the address guard.
    fn call_for_flow(&self, call: FlowCall) -> PortFuture<'_, Result<ToolAnswer, CallFailure>>;
    /// Reads what an MCP server lists, or says why that is not possible.
    fn list_tools(
        &self,
        owner: ObjectOwner,
        server: DeclaredServer,
    ) -> PortFuture<'_, Result<McpListing, String>>;
    /// Finds out where a person signs a project in for an MCP server, and registers the gateway there.
    fn plan_sign_in(&self, order: SignInOrder) -> PortFuture<'_, Result<SignInPlan, CallFailure>>;
    /// Redeems a person's consent at the authorization server of an MCP server.
    fn redeem_code(&self, order: CodeOrder) -> PortFuture<'_, Result<McpGrant, CallFailure>>;
    /// Posts one event to a workspace's webhook: under the address guard, within `WEBHOOK_TIME_MAX`, and
    /// without following redirects.
    fn post(&self, posting: Posting) -> PortFuture<'_, Result<Posted, PostError>>;
}
