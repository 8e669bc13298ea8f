// SPDX-License-Identifier: Apache-2.0
// What batch_main.cpp (compiled once) needs to know of a design (batch_design.cpp, one per design).
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

struct Port {
    const char* name;
    void* data;      // where Verilator keeps the value, little-endian
    uint32_t bytes;  // 1, 2, 4, 8 or a multiple of 4
    uint32_t width;
};

struct Model {
    std::vector<Port> ports;
    virtual ~Model() = default;
    virtual void eval() = 0;
    virtual void trace_open(const char*) {}
    virtual void trace_dump(uint64_t) {}
    virtual void trace_close() {}
};

Model* make_model();
