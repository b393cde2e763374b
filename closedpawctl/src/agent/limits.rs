//! How long the agent waits and how much it takes: every bound of the conversation, in one place.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How long each stage may take. A first answer may need a model loaded; a probe may not.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the console has dialled.
    pub connect: Duration,
    /// From a probe's request to the head of its response.
    pub probe: Duration,
    /// From a chat request to the head of its response, with the model's loading time.
    pub first_byte: Duration,
    /// Between two pieces of a response.
    pub idle: Duration,
    /// For a whole response, so that a trickle ends too.
    pub whole: Duration,
    /// How long a server may answer that it is still loading.
    pub loading: Duration,
    /// Between two looks at a loading server, and before a failed request is sent again.
    pub pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            probe: Duration::from_secs(5),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
            whole: Duration::from_secs(900),
            loading: Duration::from_secs(180),
            pause: Duration::from_millis(300),
        }
    }
}

/// How much one response may hold before it is given up. Checked while it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Guards {
    /// Bytes of one line or event.
    pub line: usize,
    /// Bytes of one call's arguments.
    pub arguments: usize,
    /// Calls in one turn.
    pub calls: usize,
    /// Bytes of one response.
    pub response: usize,
    /// Bytes of a response that is read whole, such as a list of models.
    pub document: usize,
}

impl Default for Guards {
    fn default() -> Self {
        Self { line: 8 << 20, arguments: 1 << 20, calls: 16, response: 32 << 20, document: 4 << 20 }
    }
}

/// How far one question may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// How much one response may hold.
    pub guards: Guards,
    /// Answers of the model, with native tools.
    pub turns: usize,
    /// Answers of the model, with schema steps.
    pub steps: usize,
    /// Tool calls, those that were refused or misunderstood included.
    pub calls: usize,
    /// Tokens the model may write in one turn.
    pub answer_tokens: u32,
    /// Bytes received from the model server in all.
    pub received: usize,
    /// Tokens sent to and received from the model in all, as far as the server counts them.
    pub tokens: u64,
    /// Bytes of one tool's output that the model gets to see; less where a quarter of the context is less.
    pub tool_output: usize,
    /// The context that is asked for where it can be chosen.
    pub context: u32,
    /// The least context that is worth starting with.
    pub least_context: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            guards: Guards::default(),
            turns: 24,
            steps: 6,
            calls: 32,
            answer_tokens: 2048,
            received: 128 << 20,
            tokens: 1_000_000,
            tool_output: 12 << 10,
            context: 16_384,
            least_context: 4096,
        }
    }
}
