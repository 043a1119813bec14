// The playground's conversation. It outlives its page, so that a look at one of its requests doesn't end it; it is of this tab
// and of who is signed in, and is kept nowhere.

import { Answer } from './answer.svelte';
import { messages } from './lanes';
import { onForget } from './query.svelte';

export interface Settings {
  system: string;
  temperature: string;
  tokens: string;
}

export interface Round {
  prompt: string;
  answers: Answer[];
}

class Talk {
  rounds = $state.raw<Round[]>([]);
  isBusy = $derived(this.rounds.some((round) => round.answers.some((answer) => !answer.isOver)));

  ask(prompt: string, models: readonly string[], settings: Settings, key: string): void {
    const before = this.rounds;
    const answers = models.map((model) => new Answer(model));
    this.rounds = [...before, { prompt, answers }];
    for (const answer of answers) {
      const body = {
        model: answer.model,
        stream: true,
        stream_options: { include_usage: true },
        messages: messages(before, answer.model, prompt, settings.system),
        temperature: settings.temperature === '' ? undefined : Number(settings.temperature),
        max_tokens: settings.tokens === '' ? undefined : Number(settings.tokens),
      };
      void answer.ask(body, key);
    }
  }

  stop(): void {
    for (const round of this.rounds) for (const answer of round.answers) answer.stop();
  }

  clear(): void {
    this.stop();
    this.rounds = [];
  }
}

export const talk = new Talk();
onForget(() => talk.clear());
