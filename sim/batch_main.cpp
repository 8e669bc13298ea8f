// SPDX-License-Identifier: Apache-2.0
// The loops of the batch simulator: streams and UART pins, for any design. Called from batch.py,
// which has the same structures.
#include <algorithm>

#include "batch_model.h"

double sc_time_stamp() { return 0; }  // Verilator's runtime asks; no design here uses $time

namespace {

enum Status : int32_t { RUNNING, DONE, OUT_OF_CYCLES, OUTPUT_CHANGED, EXTRA_OUTPUT, BAD_FRAME };

struct Record {
    const Port* port;
    std::vector<uint8_t> samples;
};

struct Sim {
    std::unique_ptr<Model> model;
    uint8_t* clock = nullptr;
    uint8_t* reset = nullptr;
    int64_t now = 0;  // cycles since power-on
    std::vector<Record> records;
    std::string trace_path;
    int64_t trace_start = 0, trace_stop = -1;
    bool tracing = false;
    std::vector<uint8_t> waiting;  // a valid payload on o that was not taken

    // UART receiver on the design's transmit pin.
    bool line = true, receiving = false;
    int64_t start = 0, sample_at = 0;
    int position = 0;
    uint32_t shift = 0;
    std::vector<uint8_t> bytes;
    std::vector<int64_t> byte_cycles, edges;
    uint64_t hash = 0xCBF29CE484222325;

    // First half of a cycle: inputs have been set, combinational outputs settle.
    void settle() {
        if (clock) *clock = 0;
        model->eval();
        if (now >= trace_start && now < trace_stop) {
            if (!tracing) model->trace_open(trace_path.c_str());
            tracing = true;
            model->trace_dump(2 * now);
        }
    }

    // Second half: the clock's rising edge.
    void edge() {
        for (Record& record : records) {
            const uint8_t* data = static_cast<const uint8_t*>(record.port->data);
            record.samples.insert(record.samples.end(), data, data + record.port->bytes);
        }
        if (clock) *clock = 1;
        model->eval();
        if (tracing) {
            model->trace_dump(2 * now + 1);
            if (now + 1 == trace_stop) end_trace();
        }
        ++now;
    }

    void end_trace() {
        if (tracing) model->trace_close();
        tracing = false;
    }

    ~Sim() { end_trace(); }
};

// The same function as in stalls.py; threshold is the probability times 2**53.
bool stalled(uint64_t seed, uint64_t side, uint64_t cycle, uint64_t threshold) {
    uint64_t z = (2 * seed + side) * 0xD1342543DE82EF95 + (cycle + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (z ^ z >> 31) >> 11 < threshold;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

struct StreamRun {
    int32_t i_payload, i_valid, i_ready, o_payload, o_valid, o_ready;  // port numbers or -1
    const uint8_t* inputs;
    int64_t input_count;
    int64_t* input_cycles;
    uint8_t* outputs;
    int64_t output_count;
    int64_t* output_cycles;
    uint64_t seed, stall_i, stall_o;
    int64_t max_cycles;   // since the start of the stimulus, or -1
    int64_t idle_cycles;  // without a transfer
    int64_t reset_at;     // or -1
    int64_t extra;        // cycles to watch after the last output
    // State between calls, zero at first:
    int64_t sent, received, cycle, last_transfer, finished;
    int32_t busy, held, was_reset;
};

struct UartRun {
    int32_t rx, tx;
    int64_t divisor;
    const uint8_t* levels;  // of rx, each for divisor cycles
    int64_t level_count;
    int64_t expect;      // bytes
    int64_t min_cycles;  // since the first call
    int64_t max_cycles;
    // State between calls, zero at first:
    int64_t cycle;
};

API Sim* sim_new(const char* trace_path, int64_t trace_start, int64_t trace_stop) {
    Sim* sim = new Sim;
    sim->model.reset(make_model());
    sim->trace_path = trace_path;
    sim->trace_start = trace_start;
    sim->trace_stop = trace_stop;
    return sim;
}

API void sim_delete(Sim* sim) { delete sim; }

API int32_t sim_find(Sim* sim, const char* name) {
    for (size_t k = 0; k < sim->model->ports.size(); ++k) {
        if (!strcmp(sim->model->ports[k].name, name)) return static_cast<int32_t>(k);
    }
    return -1;
}

API uint32_t sim_port_bytes(Sim* sim, int32_t port) { return sim->model->ports[port].bytes; }

API void sim_set(Sim* sim, int32_t port, const uint8_t* value) {
    memcpy(sim->model->ports[port].data, value, sim->model->ports[port].bytes);
}

// Choose clock and reset (or -1), and reset the design for a cycle.
API void sim_start(Sim* sim, int32_t clock, int32_t reset) {
    auto pin = [&](int32_t k) {
        return k < 0 ? nullptr : static_cast<uint8_t*>(sim->model->ports[k].data);
    };
    sim->clock = pin(clock);
    sim->reset = pin(reset);
    if (sim->reset) {
        int64_t trace_stop = sim->trace_stop;  // cycles count from the end of this one
        sim->trace_stop = -1;
        *sim->reset = 1;
        sim->settle();
        sim->edge();
        *sim->reset = 0;
        sim->now = 0;
        sim->trace_stop = trace_stop;
    }
}

API void sim_record(Sim* sim, int32_t port) {
    sim->records.push_back({&sim->model->ports[port], {}});
}

API const uint8_t* sim_records(Sim* sim, int32_t k, int64_t* bytes) {
    *bytes = static_cast<int64_t>(sim->records[k].samples.size());
    return sim->records[k].samples.data();
}

API int64_t sim_now(Sim* sim) { return sim->now; }

// Run at most `budget` cycles.
API int32_t sim_run_stream(Sim* sim, StreamRun* r, int64_t budget) {
    uint8_t one = 1, idle = 0;
    auto port = [&](int32_t k, uint8_t* other) {
        return k < 0 ? other : static_cast<uint8_t*>(sim->model->ports[k].data);
    };
    uint8_t* i_payload = port(r->i_payload, &idle);
    uint8_t* i_valid = port(r->i_valid, &idle);
    uint8_t* i_ready = port(r->i_ready, &one);
    uint8_t* o_payload = port(r->o_payload, &idle);
    uint8_t* o_valid = port(r->o_valid, &one);
    uint8_t* o_ready = port(r->o_ready, &idle);
    const size_t i_bytes = r->i_payload < 0 ? 0 : sim->model->ports[r->i_payload].bytes;
    const size_t o_bytes = r->o_payload < 0 ? 0 : sim->model->ports[r->o_payload].bytes;
    const bool always_valid = r->i_valid < 0, always_ready = r->o_ready < 0;
    std::vector<uint8_t>& waiting = sim->waiting;
    waiting.resize(o_bytes);

    while (budget-- > 0) {
        const bool before_reset = r->reset_at >= 0 && !r->was_reset;
        if (before_reset && r->cycle == r->reset_at) {
            *i_valid = *o_ready = 0;
            *sim->reset = 1;
            sim->settle();
            sim->edge();
            *sim->reset = 0;
            r->sent = r->received = r->cycle = r->last_transfer = r->finished = 0;
            r->busy = r->held = 0;
            r->was_reset = 1;
            continue;
        }
        if (!before_reset) {
            if (r->received >= r->output_count) {
                if (!r->finished) r->finished = r->cycle + 1;
                if (r->cycle + 1 - r->finished >= r->extra) return DONE;
            } else if (r->max_cycles >= 0 ? r->cycle >= r->max_cycles
                                          : r->cycle - r->last_transfer >= r->idle_cycles) {
                return OUT_OF_CYCLES;
            }
        }
        if (!r->busy && r->sent < r->input_count &&
            (always_valid || !stalled(r->seed, 0, r->cycle, r->stall_i))) {
            r->busy = 1;
            memcpy(i_payload, r->inputs + r->sent * i_bytes, i_bytes);
        }
        const bool ready = always_ready || !stalled(r->seed, 1, r->cycle, r->stall_o);
        *i_valid = r->busy;
        *o_ready = ready;
        sim->settle();
        const bool valid = *o_valid;
        if (r->held && !(valid && !memcmp(waiting.data(), o_payload, o_bytes))) {
            return OUTPUT_CHANGED;
        }
        r->held = valid && !ready;
        if (r->held) memcpy(waiting.data(), o_payload, o_bytes);
        if (r->busy && *i_ready) {
            r->input_cycles[r->sent++] = r->cycle;
            r->busy = 0;
            r->last_transfer = r->cycle;
        }
        if (valid && ready) {
            if (r->received < r->output_count) {
                memcpy(r->outputs + r->received * o_bytes, o_payload, o_bytes);
                r->output_cycles[r->received] = r->cycle;
            } else if (!before_reset && r->finished) {
                return EXTRA_OUTPUT;
            }
            r->received++;
            r->last_transfer = r->cycle;
        }
        sim->edge();
        r->cycle++;
    }
    return RUNNING;
}

API int32_t sim_run_uart(Sim* sim, UartRun* r, int64_t budget) {
    uint8_t* rx = static_cast<uint8_t*>(sim->model->ports[r->rx].data);
    const uint8_t* tx = static_cast<const uint8_t*>(sim->model->ports[r->tx].data);
    const int64_t driven = r->level_count * r->divisor;
    int64_t index = r->cycle / r->divisor, left = r->divisor - r->cycle % r->divisor;
    while (budget-- > 0) {
        const int64_t received = static_cast<int64_t>(sim->bytes.size());
        if (r->cycle >= driven && r->cycle >= r->min_cycles && received >= r->expect) return DONE;
        if (r->max_cycles >= 0 && r->cycle >= r->max_cycles) return OUT_OF_CYCLES;
        *rx = index < r->level_count ? r->levels[index] : 1;
        sim->settle();
        const bool level = *tx;
        sim->hash = (sim->hash ^ level) * 0x100000001B3;
        if (level != sim->line) {
            sim->edges.push_back(sim->now);
            sim->line = level;
            if (!sim->receiving) {
                sim->receiving = true;
                sim->start = sim->now;
                sim->sample_at = sim->now + r->divisor / 2;
                sim->position = 0;
                sim->shift = 0;
            }
        }
        if (sim->receiving && sim->now == sim->sample_at) {
            sim->shift |= static_cast<uint32_t>(level) << sim->position;
            sim->sample_at += r->divisor;
            if (sim->position == 0 && level) return BAD_FRAME;
            if (++sim->position == 10) {
                if (!level) return BAD_FRAME;
                sim->receiving = false;
                sim->bytes.push_back(static_cast<uint8_t>(sim->shift >> 1));
                sim->byte_cycles.push_back(sim->start);
            }
        }
        sim->edge();
        r->cycle++;
        if (--left == 0) {
            left = r->divisor;
            ++index;
        }
    }
    return RUNNING;
}

// Take the received bytes.
API int64_t sim_uart_count(Sim* sim) { return static_cast<int64_t>(sim->bytes.size()); }

API void sim_uart_take(Sim* sim, uint8_t* bytes, int64_t* cycles) {
    std::copy(sim->bytes.begin(), sim->bytes.end(), bytes);
    std::copy(sim->byte_cycles.begin(), sim->byte_cycles.end(), cycles);
    sim->bytes.clear();
    sim->byte_cycles.clear();
}

API uint64_t sim_uart_hash(Sim* sim) { return sim->hash; }

API const int64_t* sim_uart_edges(Sim* sim, int64_t* count) {
    *count = static_cast<int64_t>(sim->edges.size());
    return sim->edges.data();
}
