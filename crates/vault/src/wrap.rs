//! Key wrapping with a local master key, for installations without a KMS.

use std::sync::Arc;

use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::hkdf;
use domain::Secret;
use domain::ports::{KeyWrap, KeyWrapError, PortFuture};
use world::Random;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::master::MasterKey;
use crate::seal;

/// Wraps under a key derived from the master key; the master key itself is not retained.
pub struct LocalKeyWrap {
    key: LessSafeKey,
    key_id: String,
    /// Prefixed to everything that it wraps.
    prefix: Vec<u8>,
    random: Arc<dyn Random>,
}

impl LocalKeyWrap {
    pub fn new(master: &MasterKey, random: Arc<dyn Random>) -> Result<Self, VaultError> {
        let wrapping = derive(master.expose(), b"tidegate/wrap/1")?;
        // The id is derived like a separate key: it distinguishes two master keys and reveals nothing about
        // either.
        let name = derive(master.expose(), b"tidegate/master-key-id/1")?;
        let key_id = format!("local:{}", hex(name.get(..8).unwrap_or_default()));
        let prefix = domain::master_key::wrapped_prefix(&key_id);
        Ok(Self { key: seal::key(&*wrapping).map_err(|_| VaultError::Crypto)?, key_id, prefix, random })
    }

    pub(crate) fn wrapped(&self, key: &Secret, context: &[u8]) -> Result<Vec<u8>, KeyWrapError> {
        let sealed = seal::seal(&self.key, context, key.expose(), &*self.random);
        let sealed = sealed.map_err(|_| KeyWrapError("the key could not be wrapped".into()))?;
        Ok([self.prefix.as_slice(), &sealed].concat())
    }

    /// Keys wrapped before master key rotation existed have no prefix.
    pub(crate) fn unwrapped(&self, wrapped: &[u8], context: &[u8]) -> Result<Secret, KeyWrapError> {
        let sealed = wrapped.strip_prefix(self.prefix.as_slice()).unwrap_or(wrapped);
        seal::open(&self.key, context, sealed)
            .map_err(|_| KeyWrapError("the wrapped key can't be opened".into()))
    }
}

impl KeyWrap for LocalKeyWrap {
    fn key_id(&self) -> String {
        self.key_id.clone()
    }

    fn wrap<'a>(
        &'a self,
        key: &'a Secret,
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Vec<u8>, KeyWrapError>> {
        let wrapped = self.wrapped(key, context);
        Box::pin(async move { wrapped })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> PortFuture<'a, Result<Secret, KeyWrapError>> {
        let opened = self.unwrapped(wrapped, context);
        Box::pin(async move { opened })
    }
}

domain::brief_debug!(LocalKeyWrap, key_id);

/// Derives 32 bytes for one purpose from a uniformly random key.
pub(crate) fn derive(key: &[u8], purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tidegate").extract(key);
    let mut derived = Zeroizing::new([0_u8; 32]);
    let info = [purpose];
    let material = pseudorandom.expand(&info, hkdf::HKDF_SHA256).map_err(|_| VaultError::Crypto)?;
    material.fill(&mut *derived).map_err(|_| VaultError::Crypto)?;
    Ok(derived)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
