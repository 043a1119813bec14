//! The wire formats of clients and upstreams, each with a reader and a writer, the intermediate form that
//! they translate through, and the one table of status codes.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod answer_path;
mod answer_stream;
mod as_chat;
mod batch;
mod buffered;
mod count;
mod cut;
mod divide;
mod embed;
mod error;
mod files;
mod history;
mod last_text;
pub mod media;
mod native;
mod prefix;
mod problem;
mod rate_limit_headers;
mod realtime;
mod registry;
mod repeat;
mod repeatable;
mod salt;
mod shared_account;
mod stored_objects;
mod transcript;
mod translate;
mod vendor;
mod whole;

pub use answer_path::AnswerPath;
pub use answer_stream::AnswerStream;
pub use as_chat::{answer_as_chat, request_as_chat};
pub use batch::{
    BatchInputLine, batch_input_body, batch_operation, file_batch_operation, read_batch_input,
    read_batch_output, rename_batch_input,
};
pub use buffered::{BufferedAnswer, ProviderResponse};
pub use converse::{InvokedStream, invoked_request, invoked_stream_headers};
pub use count::{buffered_count, count_answer, forget_answer, write_count_request};
pub use cut::EventBuffer;
pub use divide::{Divided, PromptCut, divide_prompt};
pub use embed::{VendorVectors, buffered_vectors, read_embedding_inputs, translate_embeddings};
pub use error::{ErrorAnswer, render_blocked, render_error, request_id_header};
pub use files::{exchange_files, vendors_file};
pub use history::{ContinuedRequest, StreamedItems, answer_items, continue_request, names_threads};
pub use last_text::{LastText, take_last_text};
pub use native::native_headers;
pub use prefix::{PrefixEnd, Prefixes, insert, read_prefixes};
pub use rate_limit_headers::{is_rate_limit_header, rate_limit_headers};
pub use realtime::{RealtimeAct, RealtimeEvent, realtime_error};
pub use registry::{
    client_face, face, feature_names, lists_models, meant_path, model_object, models_list, own_batches, ping,
    roots, routes, sdk_dialect, status, stored_objects, stream_type,
};
pub use repeat::{cached_tokens_of_repeat, repeat_prefix};
pub use repeatable::{canonical_body, is_repeatable_answer};
pub use salt::{CacheSalt, salt_cache};
pub use shared_account::{
    Objection, Reason, SharedAccount, check_shared, check_shared_event, is_public_address,
};
pub use stored_objects::{buffered_stored_object, decode_batch};
pub use transcript::AnswerForm;
pub use translate::{decode_request, read_prompt, translate_request, write_prompt};
pub use vendor::{VendorAnswer, VendorStream};
pub use whole::{buffered_answer, buffered_stored_answer, buffered_transcript};
