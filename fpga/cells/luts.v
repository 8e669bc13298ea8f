// SPDX-License-Identifier: Apache-2.0
// Simulation models of LUTs as tables: Yosys' own, multiplexers of slices, cost Verilator four
// times the time to compile and to run. A test compares the two.

module SB_LUT4_TABLE (output O, input I0, I1, I2, I3);
	parameter [15:0] LUT_INIT = 16'h0;
	assign O = LUT_INIT[{I3, I2, I1, I0}];
endmodule

module LUT4_TABLE (input A, B, C, D, output Z);
	parameter [15:0] INIT = 16'h0;
	assign Z = INIT[{D, C, B, A}];
endmodule
