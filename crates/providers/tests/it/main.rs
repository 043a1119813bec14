//! The exchanges in `golden/providers`: what each seller is sent, and what its answers mean.

#[cfg(test)]
mod golden;
