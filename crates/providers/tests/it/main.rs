//! The recorded exchanges in `golden/providers`: what each provider is sent, and how its answers are
//! classified.

#[cfg(test)]
mod golden;
