// SPDX-License-Identifier: Apache-2.0
// Techmap for simulation: the cells of nextpnr's routed iCE40 designs as a LUT, logic and a register,
// and as the block RAM of Yosys. After Lattice's iCE40 LP/HX Family Data Sheet and Yosys'
// ICESTORM_LC. Inputs without a net have been tied to what the device gives them.

module ICESTORM_LC (input I0, I1, I2, I3, CIN, CLK, CEN, SR, output LO, O, COUT);
	parameter [15:0] LUT_INIT = 0;
	parameter [0:0] NEG_CLK = 0;
	parameter [0:0] CARRY_ENABLE = 0;
	parameter [0:0] DFF_ENABLE = 0;
	parameter [0:0] SET_NORESET = 0;
	parameter [0:0] ASYNC_SR = 0;
	parameter [0:0] CIN_CONST = 0;
	parameter [0:0] CIN_SET = 0;

	wire carry = CIN_CONST ? CIN_SET : CIN;
	assign COUT = CARRY_ENABLE ? (I1 & I2) | ((I1 | I2) & carry) : 1'b0;
	SB_LUT4_TABLE #(.LUT_INIT(LUT_INIT)) lut (.O(LO), .I0(I0), .I1(I1), .I2(I2), .I3(I3));
	generate
		if (DFF_ENABLE) begin
			wire edges = CLK ^ NEG_CLK;
			reg q = 1'b0;
			if (ASYNC_SR) begin
				always @(posedge edges, posedge SR)
					if (SR) q <= SET_NORESET;
					else if (CEN) q <= LO;
			end else begin
				always @(posedge edges)
					if (CEN) q <= SR ? SET_NORESET : LO;
			end
			assign O = q;
		end else
			assign O = LO;
	endgenerate
endmodule

module SB_GB (input USER_SIGNAL_TO_GLOBAL_BUFFER, output GLOBAL_BUFFER_OUTPUT);
	assign GLOBAL_BUFFER_OUTPUT = USER_SIGNAL_TO_GLOBAL_BUFFER;
endmodule
