//! The choice of the next token.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher as _, RandomState};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

/// The scores of what follows the last token that was evaluated.
const LAST: i32 = -1;

pub(super) struct Sampler {
    grammar: Option<LlamaSampler>,
    /// Nothing is left to chance without it.
    chance: Option<LlamaSampler>,
}

impl Sampler {
    pub(super) fn new(grammar: Option<LlamaSampler>, temperature: f32, seed: Option<u32>) -> Self {
        let chance = (temperature > 0.0).then(|| {
            let seed = seed.unwrap_or_else(|| (RandomState::new().hash_one(()) & u64::from(u32::MAX)) as u32);
            LlamaSampler::chain_simple([
                LlamaSampler::top_k(40),
                LlamaSampler::top_p(0.95, 1),
                LlamaSampler::temp(temperature),
                LlamaSampler::dist(seed),
            ])
        });
        Self { grammar, chance }
    }

    /// The token that comes next. Holding one candidate against a grammar is cheap and holding all
    /// 150,000 is not, so the best is tried alone first.
    pub(super) fn next(&mut self, context: &LlamaContext<'_>) -> Result<LlamaToken, String> {
        let mut token = self.choose(context, false).ok_or("no token to choose")?;
        if !self.fits(token) {
            token = self.choose(context, true).ok_or("the grammar allows no token")?;
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.try_accept(token).map_err(|error| error.to_string())?;
        }
        Ok(token)
    }

    fn choose(&mut self, context: &LlamaContext<'_>, within_grammar: bool) -> Option<LlamaToken> {
        if self.chance.is_none() && !within_grammar {
            return best(context.candidates_ith(LAST));
        }
        let mut candidates = LlamaTokenDataArray::from_iter(context.candidates_ith(LAST), false);
        if let Some(grammar) = self.grammar.as_mut().filter(|_| within_grammar) {
            candidates.apply_sampler(grammar);
            candidates.data.retain(|candidate| candidate.logit() > f32::NEG_INFINITY);
        }
        if candidates.data.is_empty() {
            return None;
        }
        match &mut self.chance {
            None => best(candidates.data.into_iter()),
            Some(chance) => {
                candidates.apply_sampler(chance);
                candidates.selected_token()
            }
        }
    }

    fn fits(&mut self, token: LlamaToken) -> bool {
        let Some(grammar) = &mut self.grammar else { return true };
        let alone = LlamaTokenDataArray::new(vec![LlamaTokenData::new(token, 1.0, 0.0)], false);
        alone.with_sampler(grammar).data.first().is_some_and(|left| left.logit() > f32::NEG_INFINITY)
    }
}

fn best(candidates: impl Iterator<Item = LlamaTokenData>) -> Option<LlamaToken> {
    let better =
        |one: LlamaTokenData, other: LlamaTokenData| if other.logit() > one.logit() { other } else { one };
    candidates.reduce(better).map(|candidate| candidate.id())
}
