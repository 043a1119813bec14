//! A local model as a `Runtime`, the interface through which a node serves it.

mod adapters;
mod answer;
mod chat;
mod drawing;
mod opening;
mod passages;
mod preparing;
mod ruling;
mod served;
mod settings;
mod training;
mod uses;
mod vectors;

use std::sync::Arc;

use domain::Fault;
use domain::adapters::{Adapters, RuntimeFuture};
use domain::inference_task::{BoxedInferenceTask, EmbedRequest, RankRequest};
use domain::runtime::{
    BoxedGeneration, ClearedPrefixes, DiskCacheCounts, GenerateRequest, InUse, Runtime, RuntimeLoad,
    RuntimeModel,
};
use domain::training::Trainer;
use kernels::BLOCK;
use prefixes::DiskCache;

use crate::adapters::AdapterId;
use crate::blocks::CacheScope;
use crate::request::AdapterSwitch;
use crate::scheduler::ForgottenScope;

use preparing::Prepared;
pub use served::Local;
pub use settings::{Chance, Drafting, LocalSettings, Now};

/// No output has more than `usize::MAX` tokens, so that larger positions are never reached.
fn later((from, adapter): &(u64, Option<String>)) -> AdapterSwitch {
    let from = usize::try_from(*from).unwrap_or(usize::MAX);
    AdapterSwitch { from, adapter: adapter.as_deref().map(AdapterId::from) }
}

impl Runtime for Local {
    fn models(&self) -> Vec<RuntimeModel> {
        vec![RuntimeModel {
            id: self.id.clone(),
            owned_by: "local".to_owned(),
            created_unix_s: self.created_unix_s,
            is_model: true,
            context_tokens: u64::try_from(self.longest()).ok(),
            weights_bytes: Some(self.weights_bytes),
            operations: self.uses.makes(),
        }]
    }

    fn generate(&self, request: GenerateRequest) -> Result<BoxedGeneration, Fault> {
        let adapter = self.adapter(&request)?;
        self.must_answer()?;
        let drawing = drawing::read(&request, &self.chat_config.defaults(), (self.chance)())?;
        let later: Vec<AdapterSwitch> = request.parameters.adapter_switches.iter().map(later).collect();
        let served = Arc::clone(&self.served);
        let make = move |_: &dyn Fn() -> bool| served.answer(&request, (adapter.as_ref(), &later), &drawing);
        Ok(Box::pin(Prepared::Coming(self.preparing.make(make))))
    }

    fn count_tokens(&self, request: GenerateRequest) -> RuntimeFuture<'_, u64> {
        let served = Arc::clone(&self.served);
        Box::pin(self.preparing.make(move |_| {
            served.adapter(&request)?;
            Ok(served.prompt(&request, usize::MAX)?.0.len() as u64)
        }))
    }

    fn embed(&self, request: EmbedRequest) -> Result<BoxedInferenceTask<Vec<Vec<f32>>>, Fault> {
        Ok(Box::pin(self.vectors_of(request)?))
    }

    fn rank(&self, request: RankRequest) -> Result<BoxedInferenceTask<Vec<f64>>, Fault> {
        Ok(Box::pin(self.ranks_of(request)?))
    }

    fn adapters(&self) -> Option<&dyn Adapters> {
        Some(self)
    }

    fn trainer(&self) -> Option<&dyn Trainer> {
        Some(self)
    }

    fn load(&self) -> RuntimeLoad {
        self.host.load()
    }

    fn disk_cache(&self) -> Option<DiskCacheCounts> {
        self.host.disk().map(DiskCache::counts)
    }

    fn clear_prefix_cache(&self, share: Option<String>) -> RuntimeFuture<'_, ClearedPrefixes> {
        let share = CacheScope(self.whose(share.as_deref()));
        Box::pin(async move {
            let forgot = self.host.forget(share).await.map_err(adapters::fault)?;
            // After those in memory are marked, so that none is written there again.
            let disk = self.host.forget_on_disk(share).await.map_err(adapters::fault)?;
            let bytes = |blocks: usize| (blocks * self.host.block_bytes()) as u64;
            let ForgottenScope { cached_blocks: found, wiped, held_blocks: held, held_sequences: texts } =
                forgot;
            Ok(ClearedPrefixes {
                tokens: (found * BLOCK) as u64,
                blocks: wiped as u64,
                bytes: bytes(wiped),
                held: InUse { answers: texts as u64, blocks: held as u64, bytes: bytes(held) },
                disk,
            })
        })
    }
}
