//! The wire formats of clients and upstreams, each with a reader and a writer, the intermediate form that
//! they translate through, and the one table of status codes.

#![expect(
    clippy::result_large_err,
    reason = "a fault ends a stream, so its size is paid once and not per chunk"
)]

mod answer;
mod anthropic;
mod asked;
mod batch;
mod blocks;
mod bundle;
mod calls;
pub mod chat;
mod converse;
mod count;
mod cut;
mod cuts;
mod embed;
mod error;
mod fields;
mod files;
mod film;
mod form;
mod gemini;
#[cfg(test)]
#[path = "../tests/shared/golden_exchanges.rs"]
mod golden_exchanges;
mod hosted;
mod job;
pub mod json;
mod kept;
mod losses;
mod media;
mod models;
mod native;
mod object;
mod one_text;
mod passage;
mod pooled;
mod prefix;
mod problem;
mod realtime;
mod refusal;
mod request;
mod responses;
mod runtime;
mod said;
mod salt;
mod speak;
mod splice;
mod standing;
mod status;
mod transcript;
mod turns;
mod whole;
mod written;

pub use answer::{AnswerFacts, StreamFacts, StreamFault, ping, stream_type};
pub use asked::Asked;
pub use batch::{BatchAsk, BatchItem, batch_operation, read_batch_ask, read_batch_item};
pub use bundle::{Bundle, BundleTold, BundledModel, MESSAGES, read_bundle};
pub use converse::{converse_address as read_model_path, read_error as read_converse_error};
pub use count::{count_answer, forget_answer, speak_count};
pub use embed::{HostedForm, speak_hosted_texts, speak_texts};
pub use error::{ErrorAnswer, render_blocked, render_error, request_id_header};
pub use files::exchange_files;
pub use film::{Film, FilmState, read_film};
pub use form::{Form, FormReader};
pub use gemini::{
    CONTENTS, ContentBatchTold, ContentResults, TooLong, Verb, gemini_address as read_address,
    read_content_batch, read_gemini_error,
};
pub use hosted::{bare_count, with_members};
pub use job::{JOBS, JobEnd, JobStorage, JobTold, read_job};
pub use kept::{KeptMade, rename_kept};
pub use losses::{Feature, Losses, Sort};
pub use media::{
    FilmAsk, FilmWords, HeardAsk, InvokedPictures, InvokedRanking, ListenWords, QueuedFilm, SpeechWords,
    by_sides, operated_film, operation_of, speak_hosted_listening, speak_hosted_speech,
    speak_invoked_pictures, speak_invoked_ranking, speak_pictures, speak_predicted_film,
    speak_predicted_pictures, speak_queued_film,
};
pub use models::{ModelRow, model_object, models_list};
pub use native::native_headers;
pub use passage::{AnswerStream, Way};
pub use pooled::{Objection, Reason, SharedSeat, check_shared, check_shared_event, is_public_address};
pub use prefix::{Insert, PrefixEnd, Prefixes, insert, read_prefixes};
pub use realtime::{RealtimeAct, RealtimeEvent, realtime_error};
pub use request::{
    Addressed, NamedFile, Request, Stored, StoredAct, VectorForm, upstream_body, upstream_body_with,
};
pub use responses::{ResponseTold, read_response};
pub use runtime::{
    AnswerWriter, EmbedAsked, RankAsked, RuntimeWish, ranks_answer, read_runtime, read_runtime_ranking,
    read_runtime_texts, vectors_answer,
};
pub use said::{Guess, each_text, is_counted};
pub use salt::{CacheSalt, salt_cache};
pub use speak::{Listener, Spoken, decode_request, read_prompt, speak, write_prompt};
pub use standing::{standing_headers, tells_limits};
pub use status::status;
pub use transcript::AnswerForm;
pub use turns::{TurnState, recall, unsealed_calls};
pub use whole::{Made, WholeAnswer, whole_answer};
