// SPDX-License-Identifier: Apache-2.0
// Simulation models of Gowin cells: those that Yosys has only as black boxes, and LUTs as tables.
// Model not silicon-verified: written after Yosys' mapping gowin/dsp_map.v, Gowin's UG287 (DSP), and
// Project Apicula's account of the ALU.

module GOWIN_LUT1 (output F, input I0);
	parameter [1:0] INIT = 0;
	assign F = INIT[I0];
endmodule

module GOWIN_LUT2 (output F, input I0, I1);
	parameter [3:0] INIT = 0;
	assign F = INIT[{I1, I0}];
endmodule

module GOWIN_LUT3 (output F, input I0, I1, I2);
	parameter [7:0] INIT = 0;
	assign F = INIT[{I2, I1, I0}];
endmodule

module GOWIN_LUT4 (output F, input I0, I1, I2, I3);
	parameter [15:0] INIT = 0;
	assign F = INIT[{I3, I2, I1, I0}];
endmodule

// The ALU as the die has it: a LUT for the sum, whose lowest quarter is also the carry's.
module GOWIN_ALU (output SUM, COUT, input I0, I1, I2, I3, CIN);
	parameter [15:0] INIT = 0;
	wire pass = INIT[{I3, I2, I1, I0}];
	assign SUM = pass ^ CIN;
	assign COUT = pass ? CIN : INIT[{2'b00, I1, I0}];
endmodule

// Multipliers without registers and cascades, as Yosys makes them; ASIGN and BSIGN are signs.
module MULT9X9 (input [8:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
                output [17:0] DOUT, output [8:0] SOA, SOB);
	parameter AREG = 1'b0;
	parameter BREG = 1'b0;
	parameter OUT_REG = 1'b0;
	parameter PIPE_REG = 1'b0;
	parameter ASIGN_REG = 1'b0;
	parameter BSIGN_REG = 1'b0;
	parameter SOA_REG = 1'b0;
	parameter MULT_RESET_MODE = "SYNC";
	GOWIN_MULT #(.WIDTH(9), .PLAIN(!(AREG || BREG || OUT_REG || PIPE_REG || ASIGN_REG || BSIGN_REG)))
		mult (.A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .DOUT(DOUT));
endmodule

module MULT18X18 (input [17:0] A, SIA, B, SIB, input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
                  output [35:0] DOUT, output [17:0] SOA, SOB);
	parameter AREG = 1'b0;
	parameter BREG = 1'b0;
	parameter OUT_REG = 1'b0;
	parameter PIPE_REG = 1'b0;
	parameter ASIGN_REG = 1'b0;
	parameter BSIGN_REG = 1'b0;
	parameter SOA_REG = 1'b0;
	parameter MULT_RESET_MODE = "SYNC";
	GOWIN_MULT #(.WIDTH(18), .PLAIN(!(AREG || BREG || OUT_REG || PIPE_REG || ASIGN_REG || BSIGN_REG)))
		mult (.A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .DOUT(DOUT));
endmodule

module MULT36X36 (input [35:0] A, B, input ASIGN, BSIGN, CE, CLK, RESET, output [71:0] DOUT);
	parameter AREG = 1'b0;
	parameter BREG = 1'b0;
	parameter OUT0_REG = 1'b0;
	parameter OUT1_REG = 1'b0;
	parameter PIPE_REG = 1'b0;
	parameter ASIGN_REG = 1'b0;
	parameter BSIGN_REG = 1'b0;
	parameter MULT_RESET_MODE = "SYNC";
	GOWIN_MULT #(.WIDTH(36), .PLAIN(!(AREG || BREG || OUT0_REG || OUT1_REG || PIPE_REG || ASIGN_REG
	                                  || BSIGN_REG)))
		mult (.A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .DOUT(DOUT));
endmodule

module GOWIN_MULT #(parameter WIDTH = 9, parameter PLAIN = 1) (
	input [WIDTH-1:0] A, B, input ASIGN, BSIGN, output [2*WIDTH-1:0] DOUT
);
	generate
		if (!PLAIN) $error("MULT: registers are not modelled");
	endgenerate
	wire [2*WIDTH-1:0] a = {{WIDTH{ASIGN & A[WIDTH-1]}}, A};
	wire [2*WIDTH-1:0] b = {{WIDTH{BSIGN & B[WIDTH-1]}}, B};
	assign DOUT = a * b;
endmodule
