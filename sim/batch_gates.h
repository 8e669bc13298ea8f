// SPDX-License-Identifier: Apache-2.0
// A netlist of gates behind the interface of batch_model.h, for activity.py, which has the same
// structure. Nothing is compiled for a design, and the toggles of every net are counted.
#pragma once

#include "batch_model.h"

struct GateTables {
    int64_t port_count;  // clk is the last
    const char* const* port_names;
    const uint32_t* port_widths;
    const uint8_t* port_is_output;
    const int32_t* port_nets;  // of all bits of all ports but clk
    int64_t net_count;         // net 0 is the constant 0, net 1 the constant 1
    const uint8_t* initial;
    int64_t gate_count;  // sorted: each after those that drive its pins
    const uint16_t* truth;
    const int32_t* pins;  // four of each; bit k of the row of the truth table is pin k
    const int32_t* gate_nets;
    int64_t register_count;
    const int32_t* register_inputs;
    const int32_t* register_nets;
    int64_t first, end;  // cycles since power-on to observe
    uint32_t* toggles;   // of each net, added to
};

inline const GateTables* gate_tables = nullptr;

struct GateModel final : Model {
    const GateTables& t = *gate_tables;
    std::vector<uint8_t> level, before, next;
    std::vector<std::vector<uint64_t>> values;  // of ports
    uint8_t clock = 0, was = 0;
    int64_t cycle = 0;

    GateModel() : level(t.initial, t.initial + t.net_count), before(level),
                  next(t.register_count), values(t.port_count - 1) {
        for (int64_t k = 0; k + 1 < t.port_count; ++k) {
            const uint32_t width = t.port_widths[k];
            values[k].resize((width + 63) / 64);
            // As Verilator keeps them.
            const uint32_t bytes = width <= 8 ? 1 : width <= 16 ? 2 : width <= 32 ? 4
                                 : width <= 64 ? 8 : (width + 31) / 32 * 4;
            ports.push_back({t.port_names[k], values[k].data(), bytes, width});
        }
        ports.push_back({t.port_names[t.port_count - 1], &clock, 1, 1});
    }

    // Low clock: levels settle. Its rising edge ends a cycle; outputs are read when it is low.
    void eval() override {
        if (clock && !was) {
            step();
        } else if (!clock) {
            settle();
        }
        was = clock;
    }

    void settle() {
        copy_ports(false);
        for (int64_t k = 0; k < t.gate_count; ++k) {
            const int32_t* pin = t.pins + 4 * k;
            const int row = level[pin[0]] | level[pin[1]] << 1 | level[pin[2]] << 2
                          | level[pin[3]] << 3;
            level[t.gate_nets[k]] = t.truth[k] >> row & 1;
        }
        copy_ports(true);
    }

    void step() {
        if (cycle >= t.first && cycle < t.end) {
            for (int64_t k = 0; k < t.net_count; ++k) t.toggles[k] += level[k] ^ before[k];
        }
        before = level;
        ++cycle;
        for (int64_t k = 0; k < t.register_count; ++k) next[k] = level[t.register_inputs[k]];
        for (int64_t k = 0; k < t.register_count; ++k) level[t.register_nets[k]] = next[k];
    }

    void copy_ports(bool outputs) {
        const int32_t* net = t.port_nets;
        for (int64_t k = 0; k + 1 < t.port_count; ++k) {
            const bool chosen = t.port_is_output[k] == outputs;
            for (uint32_t bit = 0; bit < t.port_widths[k]; ++bit, ++net) {
                if (!chosen) continue;
                uint64_t& word = values[k][bit / 64];
                if (outputs) {
                    word = (word & ~(1ull << bit % 64)) | uint64_t{level[*net]} << bit % 64;
                } else {
                    level[*net] = word >> bit % 64 & 1;
                }
            }
        }
    }
};

Model* make_model() { return new GateModel; }

// Of the models that are made from now on; the tables must outlive them.
extern "C" __attribute__((visibility("default"))) void sim_gates(const GateTables* tables) {
    gate_tables = tables;
}
