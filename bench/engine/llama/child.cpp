// llama.cpp as a child of the bench. It speaks the same lines as the other child: a command comes in, figures go out.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int STEP_TOKENS = 512;
constexpr int CONTEXT = 8192;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

class Child {
public:
    Child(const char * path, int threads) {
        llama_model_params model_params = llama_model_default_params();
        model_params.n_gpu_layers = 0;
        model = llama_model_load_from_file(path, model_params);
        if (model == nullptr) throw std::runtime_error("the model can't be loaded");
        llama_context_params params = llama_context_default_params();
        params.n_ctx = CONTEXT;
        params.n_batch = STEP_TOKENS;
        params.n_ubatch = STEP_TOKENS;
        params.n_seq_max = 8;
        params.n_threads = threads;
        params.n_threads_batch = threads;
        params.kv_unified = false;
        context = llama_init_from_model(model, params);
        if (context == nullptr) throw std::runtime_error("no context can be had");
        vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
        batch = llama_batch_init(STEP_TOKENS, 0, 1);
    }

    // The seconds that so many tokens behind a prompt of this length take.
    double decode(int texts, int prompt, int count) {
        forget();
        std::vector<llama_token> next;
        for (int text = 0; text < texts; ++text) {
            read(text, prompt);
            next.push_back(likeliest(batch.n_tokens - 1));
        }
        const Clock::time_point start = Clock::now();
        for (int step = 0; step < count; ++step) {
            batch.n_tokens = 0;
            for (int text = 0; text < texts; ++text) add(next[text], prompt + step, text, true);
            run();
            for (int text = 0; text < texts; ++text) next[text] = likeliest(text);
        }
        return seconds_since(start);
    }

    double prefill(int prompt) {
        forget();
        const Clock::time_point start = Clock::now();
        read(0, prompt);
        likeliest(batch.n_tokens - 1);
        return seconds_since(start);
    }

private:
    llama_model * model = nullptr;
    llama_context * context = nullptr;
    llama_batch batch = {};
    int vocabulary = 0;

    void forget() { llama_memory_clear(llama_get_memory(context), true); }

    void add(llama_token token, int place, int text, bool is_told) {
        const int at = batch.n_tokens++;
        batch.token[at] = token;
        batch.pos[at] = place;
        batch.n_seq_id[at] = 1;
        batch.seq_id[at][0] = text;
        batch.logits[at] = is_told;
    }

    void run() {
        if (llama_decode(context, batch) != 0) throw std::runtime_error("a step failed");
    }

    void read(int text, int prompt) {
        for (int first = 0; first < prompt; first += STEP_TOKENS) {
            batch.n_tokens = 0;
            for (int place = first; place < std::min(prompt, first + STEP_TOKENS); ++place) {
                add((place * 37 + text * 101 + 11) % vocabulary, place, text, place + 1 == prompt);
            }
            run();
        }
    }

    llama_token likeliest(int row) {
        const float * scores = llama_get_logits_ith(context, row);
        return static_cast<llama_token>(std::max_element(scores, scores + vocabulary) - scores);
    }
};

// What of this process is in memory, in bytes.
int64_t resident() {
    FILE * file = std::fopen("/proc/self/statm", "r");
    long long all = 0, held = 0;
    if (file == nullptr || std::fscanf(file, "%lld %lld", &all, &held) != 2) return -1;
    std::fclose(file);
    return held * 4096;
}

} // namespace

int main(int count, char ** arguments) {
    if (count != 3) return 2;
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    try {
        const Clock::time_point start = Clock::now();
        Child child(arguments[1], std::atoi(arguments[2]));
        child.prefill(1);
        std::cout << seconds_since(start) << std::endl;
        std::string line;
        while (std::getline(std::cin, line)) {
            std::istringstream words(line);
            std::string verb;
            int texts = 0, prompt = 0, tokens = 0;
            words >> verb >> texts >> prompt >> tokens;
            if (verb == "decode") std::cout << child.decode(texts, prompt, tokens) << std::endl;
            else if (verb == "prefill") std::cout << child.prefill(texts) << std::endl;
            else if (verb == "memory") std::cout << resident() << std::endl;
            else return 2;
        }
    } catch (const std::exception & error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
}
