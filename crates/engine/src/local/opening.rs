//! Opens a model's files: weights, tokenizer, chat template and generation defaults.

use std::sync::{Arc, OnceLock};

use kernels::{BLOCK, KernelError, KvCache, KvDtype};
use prefixes::{BlockShape, DiskCache, DiskCacheSettings};
use prompts::Vocabulary;
use weights::{Source, load_model};

use super::chat::ChatConfig;
use super::preparing::Preparing;
use super::served::{Local, Served};
use super::settings::{Drafting, LocalSettings};
use super::uses::Uses;
use crate::{Backend, DraftModel, EngineError, Host, Processor, Scheduler};

impl Local {
    /// Loads a model onto the CPU kernels; takes as long as reading its files.
    ///
    /// # Errors
    /// Its files are unusable, or there is not enough memory.
    pub fn open(source: &Source, settings: LocalSettings) -> Result<Self, EngineError> {
        Self::open_on(source, settings, Processor::Own)
    }

    /// Like `open`, on any processor.
    ///
    /// # Errors
    /// There is no such device here, the files are unusable, or there is not enough memory.
    pub fn open_on(
        source: &Source,
        settings: LocalSettings,
        processor: Processor,
    ) -> Result<Self, EngineError> {
        let LocalSettings {
            id,
            created_unix_s,
            scheduler_limits,
            limits,
            draft,
            disk_cache,
            spare: available_memory,
            chance,
            now_unix_s,
        } = settings;
        let beside = source.assets()?;
        let (purpose, digest) = (source.purpose(&id)?, source.digest()?);
        processor.check_keeps(scheduler_limits.kv_dtype)?;
        processor.check_room(source, scheduler_limits.bytes)?;
        let (on_device, beside_it) = processor.takes(source);
        let model = Backend::load(source, processor)?;
        let (known, width) = (model.shape().vocabulary, model.shape().hidden);
        let has_experts = model.shape().mixture.is_some();
        let uses = Uses::of(purpose, &beside.vocabulary, |token| model.head_row(source, token))?;
        let mut runner =
            Scheduler::new(model, scheduler_limits)?.with_limits(limits).within(available_memory.clone());
        if let Some(drafting) = draft {
            runner = runner.with_drafter(Box::new(open_draft(
                &drafting,
                scheduler_limits.kv_dtype,
                &beside.vocabulary,
            )?));
        }
        if let Some(disk_cache) = disk_cache {
            processor.check_disk_cache()?;
            runner = runner.with_disk(open_disk(source, disk_cache, scheduler_limits.kv_dtype)?);
        }
        let host = Host::of(runner)?;
        let served = Served {
            id,
            created_unix_s,
            host,
            weights_bytes: on_device.saturating_add(beside_it),
            path: source.path().to_owned(),
            has_experts,
            known,
            width,
            digest,
            uses,
            vocabulary: Arc::new(beside.vocabulary),
            chat_config: ChatConfig { template: beside.template, habits: beside.generation_defaults },
            chance,
            now_unix_s,
            available_memory,
            rules: OnceLock::new(),
            keys: Default::default(),
        };
        Ok(Self { served: Arc::new(served), preparing: Preparing::start()? })
    }
}

/// Opens the prefix cache on disk for the contents of the weights, whatever their files are called: `Source::digest` knows
/// a model by its metadata, which is enough only within one process.
fn open_disk(source: &Source, settings: DiskCacheSettings, keeps: KvDtype) -> Result<DiskCache, EngineError> {
    let shape = source.shape();
    let (metadata, weights) = (source.digest()?, source.digest_of_all(&|| true)?.unwrap_or_default());
    let made_by = format!("{} {metadata:032x} {weights:032x}", KvCache::format(shape, keeps));
    let block = BlockShape { tokens: BLOCK, bytes: KvCache::block_bytes(shape, keeps) };
    Ok(DiskCache::open(settings, &made_by, block)?)
}

/// Draft tokens are verified by their ids, so that both models must have the same tokenizer.
fn open_draft(
    drafting: &Drafting,
    keeps: KvDtype,
    vocabulary: &Vocabulary,
) -> Result<DraftModel, EngineError> {
    if !drafting.source.assets()?.vocabulary.is_same(vocabulary) {
        let what = "of the draft model differs from that of the main model".to_owned();
        return Err(KernelError::Shape { field: "vocabulary", what }.into());
    }
    DraftModel::new(Arc::new(load_model(&drafting.source)?), keeps, drafting.bytes)
}
