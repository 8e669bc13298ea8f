// SPDX-License-Identifier: Apache-2.0
// Techmap for simulation: pads of one fixed direction become wires, so that no inout port is left.
// Any other use of a pad stays as it is, and the caller refuses it.

module SB_IO (inout PACKAGE_PIN, input LATCH_INPUT_VALUE, CLOCK_ENABLE, INPUT_CLK, OUTPUT_CLK,
              OUTPUT_ENABLE, D_OUT_0, D_OUT_1, output D_IN_0, D_IN_1);
	parameter [5:0] PIN_TYPE = 6'b000000;
	parameter [0:0] PULLUP = 1'b0;
	parameter [0:0] NEG_TRIGGER = 1'b0;
	parameter IO_STANDARD = "SB_LVCMOS";
	parameter _TECHMAP_CONSTMSK_OUTPUT_ENABLE_ = 0;
	parameter _TECHMAP_CONSTVAL_OUTPUT_ENABLE_ = 0;
	generate
		if (PIN_TYPE == 6'b000001)
			assign D_IN_0 = PACKAGE_PIN;
		else if (PIN_TYPE == 6'b011001)
			assign PACKAGE_PIN = D_OUT_0;
		else if (PIN_TYPE == 6'b101001 && _TECHMAP_CONSTMSK_OUTPUT_ENABLE_ == 1
		         && _TECHMAP_CONSTVAL_OUTPUT_ENABLE_ == 1)
			assign PACKAGE_PIN = D_OUT_0;
		else
			wire _TECHMAP_FAIL_ = 1'b1;
	endgenerate
endmodule

module SB_GB_IO (inout PACKAGE_PIN, output GLOBAL_BUFFER_OUTPUT, input LATCH_INPUT_VALUE,
                 CLOCK_ENABLE, INPUT_CLK, OUTPUT_CLK, OUTPUT_ENABLE, D_OUT_0, D_OUT_1,
                 output D_IN_0, D_IN_1);
	parameter [5:0] PIN_TYPE = 6'b000000;
	parameter [0:0] PULLUP = 1'b0;
	parameter [0:0] NEG_TRIGGER = 1'b0;
	parameter IO_STANDARD = "SB_LVCMOS";
	generate
		if (PIN_TYPE == 6'b000001)
			assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
		else
			wire _TECHMAP_FAIL_ = 1'b1;
	endgenerate
endmodule

module TRELLIS_IO (inout B, input I, T, output O);
	parameter DIR = "INPUT";
	parameter _TECHMAP_CONSTMSK_T_ = 0;
	parameter _TECHMAP_CONSTVAL_T_ = 0;
	generate
		if (DIR == "INPUT")
			assign O = B;
		else if (DIR == "OUTPUT" && _TECHMAP_CONSTMSK_T_ == 1 && _TECHMAP_CONSTVAL_T_ == 0)
			assign B = I;
		else
			wire _TECHMAP_FAIL_ = 1'b1;
	endgenerate
endmodule
