// SPDX-License-Identifier: Apache-2.0
// Simulation models of ECP5 cells as nextpnr packs them.
// Model not silicon-verified: written after Yosys' CCU2C, TRELLIS_DPR16X4 and TRELLIS_FF, and
// Lattice's FPGA-TN-02235 (slices). Block RAMs: see ecp5.v.

// Half of a CCU2C.
module ECP5_CARRY (input A, B, C, D, FCI, output F, FCO);
	parameter [15:0] INIT = 16'h0;
	parameter INJECT = 0;
	wire lut4 = INIT[{D, C, B, A}];
	wire lut2 = INIT[{2'b00, B, A}];
	assign F = lut4 ^ (INJECT ? 1'b0 : FCI);
	assign FCO = lut4 ? FCI : (INJECT ? 1'b0 : lut2);
endmodule

// One bit of a 16-word LUT RAM: read asynchronously, as a LUT; written with the order of address
// bits that slice C passes on.
module ECP5_RAM (input A, B, C, D, WAD0, WAD1, WAD2, WAD3, WD, WCK, WRE, output F);
	parameter [15:0] INIT = 16'h0;
	reg [15:0] words = INIT;
	assign F = words[{D, C, B, A}];
	always @(posedge WCK) if (WRE) words[{WAD0, WAD2, WAD1, WAD3}] <= WD;
endmodule

module ECP5_FF (input D, CLK, CE, LSR, output reg Q);
	parameter SET = 0;
	parameter ASYNC = 0;
	initial Q = SET;
	generate
		if (ASYNC) begin
			always @(posedge CLK, posedge LSR) if (LSR) Q <= SET; else if (CE) Q <= D;
		end else begin
			always @(posedge CLK) if (LSR) Q <= SET; else if (CE) Q <= D;
		end
	endgenerate
endmodule
