// SPDX-License-Identifier: Apache-2.0
// One design behind the interface of batch_model.h; ports.inc has a line PORT(name, member, width)
// for each of its ports.
#include "Vtop.h"
#include "batch_model.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

struct DesignModel final : Model {
    VerilatedContext context;
    Vtop top{&context, "top"};
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd;
#endif

    DesignModel() {
#if VM_TRACE
        context.traceEverOn(true);
#endif
#define PORT(name, member, width) ports.push_back({name, &top.member, sizeof(top.member), width});
#include "ports.inc"
#undef PORT
    }

    void eval() override { top.eval(); }

#if VM_TRACE
    void trace_open(const char* path) override {
        vcd = std::make_unique<VerilatedVcdC>();
        top.trace(vcd.get(), 99);
        vcd->open(path);
    }
    void trace_dump(uint64_t time) override { vcd->dump(time); }
    void trace_close() override {
        vcd->close();
        vcd.reset();
    }
#endif
};

Model* make_model() { return new DesignModel; }
