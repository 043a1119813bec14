// The playground's conversation. It outlives its page, so that a look at one of its requests doesn't end it; it is of this tab
// and of who is signed in, and is kept nowhere.

import { Answer } from './answer.svelte';
import { messages, type Message } from './lanes';
import { fields, type Settings } from './play';
import { onForget } from './query.svelte';
import type { Body } from './snippet';

export interface Round {
  prompt: string;
  /** What the models are sent: the prompt with what is attached. */
  content: unknown;
  attached: readonly string[];
  answers: Answer[];
}

interface Conversation {
  before: readonly Message[];
  rounds: Round[];
}

/** Conversations that this tab goes back to; older ones are forgotten. */
const PAST_MAX = 20;

class Talk {
  rounds = $state.raw<Round[]>([]);
  /** What was said before the first round, of a request that is tried again. */
  before = $state.raw<readonly Message[]>([]);
  past = $state.raw<Conversation[]>([]);
  isBusy = $derived(this.rounds.some((round) => round.answers.some((answer) => !answer.isOver)));

  body(model: string, content: unknown, settings: Settings): Body {
    return { model, messages: messages(this.rounds, model, content, settings.system, this.before), ...fields(settings) };
  }

  ask(prompt: string, content: unknown, attached: readonly string[], models: readonly string[], settings: Settings, key: string): void {
    const answers = models.map((model) => new Answer(model));
    const bodies = models.map((model) => this.body(model, content, settings));
    this.rounds = [...this.rounds, { prompt, content, attached, answers }];
    for (const [at, answer] of answers.entries()) void answer.ask({ ...bodies[at], stream: true, stream_options: { include_usage: true } }, key);
  }

  stop(): void {
    for (const round of this.rounds) for (const answer of round.answers) answer.stop();
  }

  /** Begins another one; what was said stays in this tab. */
  startOver(before: readonly Message[] = []): void {
    this.stop();
    if (this.rounds.length > 0) this.past = [{ before: this.before, rounds: this.rounds }, ...this.past].slice(0, PAST_MAX);
    this.rounds = [];
    this.before = before;
  }

  goBackTo(conversation: Conversation): void {
    this.startOver(conversation.before);
    this.past = this.past.filter((one) => one !== conversation);
    this.rounds = conversation.rounds;
  }

  forget(): void {
    this.stop();
    this.rounds = [];
    this.before = [];
    this.past = [];
  }
}

export const talk = new Talk();
onForget(() => talk.forget());
