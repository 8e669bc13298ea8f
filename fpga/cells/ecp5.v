// SPDX-License-Identifier: Apache-2.0
// Simulation models of ECP5 cells that Yosys has only as black boxes.
// Model not silicon-verified: written after Yosys' memory mapping and Lattice's FPGA-TN-02204.

// Global set/reset: released before the first edge, flip-flops begin at their initial values.
module SGSR (input GSR, CLK);
endmodule

// Block RAM as Yosys' memory_libmap instantiates it: no output registers, no chip selects, both
// ports in one clock domain. A read of bits that the other port writes at the same edge, which
// Lattice leaves undefined, gives the complement of the old bits, so that a design relying on it
// shows up.
module DP16KD (
	input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
		DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
	input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
		ADA0,
	input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
	input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
		DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
	input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
		ADB0,
	input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
	output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
		DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
	output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
		DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
	parameter DATA_WIDTH_A = 18;
	parameter DATA_WIDTH_B = 18;
	parameter WRITEMODE_A = "NORMAL";
	parameter WRITEMODE_B = "NORMAL";
	parameter REGMODE_A = "NOREG";
	parameter REGMODE_B = "NOREG";
	parameter CSDECODE_A = "0b000";
	parameter CSDECODE_B = "0b000";
	parameter CLKAMUX = "CLKA";
	parameter CLKBMUX = "CLKB";
	parameter RESETMODE = "SYNC";
	parameter ASYNC_RESET_RELEASE = "SYNC";
	parameter GSR = "ENABLED";
	parameter [319:0] INITVAL_00 = 320'h0;
	parameter [319:0] INITVAL_01 = 320'h0;
	parameter [319:0] INITVAL_02 = 320'h0;
	parameter [319:0] INITVAL_03 = 320'h0;
	parameter [319:0] INITVAL_04 = 320'h0;
	parameter [319:0] INITVAL_05 = 320'h0;
	parameter [319:0] INITVAL_06 = 320'h0;
	parameter [319:0] INITVAL_07 = 320'h0;
	parameter [319:0] INITVAL_08 = 320'h0;
	parameter [319:0] INITVAL_09 = 320'h0;
	parameter [319:0] INITVAL_0A = 320'h0;
	parameter [319:0] INITVAL_0B = 320'h0;
	parameter [319:0] INITVAL_0C = 320'h0;
	parameter [319:0] INITVAL_0D = 320'h0;
	parameter [319:0] INITVAL_0E = 320'h0;
	parameter [319:0] INITVAL_0F = 320'h0;
	parameter [319:0] INITVAL_10 = 320'h0;
	parameter [319:0] INITVAL_11 = 320'h0;
	parameter [319:0] INITVAL_12 = 320'h0;
	parameter [319:0] INITVAL_13 = 320'h0;
	parameter [319:0] INITVAL_14 = 320'h0;
	parameter [319:0] INITVAL_15 = 320'h0;
	parameter [319:0] INITVAL_16 = 320'h0;
	parameter [319:0] INITVAL_17 = 320'h0;
	parameter [319:0] INITVAL_18 = 320'h0;
	parameter [319:0] INITVAL_19 = 320'h0;
	parameter [319:0] INITVAL_1A = 320'h0;
	parameter [319:0] INITVAL_1B = 320'h0;
	parameter [319:0] INITVAL_1C = 320'h0;
	parameter [319:0] INITVAL_1D = 320'h0;
	parameter [319:0] INITVAL_1E = 320'h0;
	parameter [319:0] INITVAL_1F = 320'h0;
	parameter [319:0] INITVAL_20 = 320'h0;
	parameter [319:0] INITVAL_21 = 320'h0;
	parameter [319:0] INITVAL_22 = 320'h0;
	parameter [319:0] INITVAL_23 = 320'h0;
	parameter [319:0] INITVAL_24 = 320'h0;
	parameter [319:0] INITVAL_25 = 320'h0;
	parameter [319:0] INITVAL_26 = 320'h0;
	parameter [319:0] INITVAL_27 = 320'h0;
	parameter [319:0] INITVAL_28 = 320'h0;
	parameter [319:0] INITVAL_29 = 320'h0;
	parameter [319:0] INITVAL_2A = 320'h0;
	parameter [319:0] INITVAL_2B = 320'h0;
	parameter [319:0] INITVAL_2C = 320'h0;
	parameter [319:0] INITVAL_2D = 320'h0;
	parameter [319:0] INITVAL_2E = 320'h0;
	parameter [319:0] INITVAL_2F = 320'h0;
	parameter [319:0] INITVAL_30 = 320'h0;
	parameter [319:0] INITVAL_31 = 320'h0;
	parameter [319:0] INITVAL_32 = 320'h0;
	parameter [319:0] INITVAL_33 = 320'h0;
	parameter [319:0] INITVAL_34 = 320'h0;
	parameter [319:0] INITVAL_35 = 320'h0;
	parameter [319:0] INITVAL_36 = 320'h0;
	parameter [319:0] INITVAL_37 = 320'h0;
	parameter [319:0] INITVAL_38 = 320'h0;
	parameter [319:0] INITVAL_39 = 320'h0;
	parameter [319:0] INITVAL_3A = 320'h0;
	parameter [319:0] INITVAL_3B = 320'h0;
	parameter [319:0] INITVAL_3C = 320'h0;
	parameter [319:0] INITVAL_3D = 320'h0;
	parameter [319:0] INITVAL_3E = 320'h0;
	parameter [319:0] INITVAL_3F = 320'h0;
	localparam [20479:0] INITVAL = {
		INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
		INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
		INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
		INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
		INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
		INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
		INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
		INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
		INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
		INITVAL_00
	};

	generate
		if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG")
			$error("DP16KD: output registers are not modelled");
		if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
			$error("DP16KD: chip selects are not modelled");
	endgenerate

	// 512 pairs of 18-bit words; a word is two bytes of nine bits, the upper one a parity bit.
	reg [35:0] pairs [0:511];
	integer i;
	initial for (i = 0; i < 512; i = i + 1)
		pairs[i] = {INITVAL[40 * i + 20 +: 18], INITVAL[40 * i +: 18]};

	wire [17:0] DIA = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8,
		DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
	wire [13:0] ADA = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
		ADA2, ADA1, ADA0};
	wire [17:0] DIB = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8,
		DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
	wire [13:0] ADB = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
		ADB2, ADB1, ADB0};

	wire [35:0] mask_a, data_a, read_a;
	wire write_a = CEA & WEA & ~RSTA;
	wire [35:0] old_a = pairs[ADA[13:5]];
	wire [35:0] clash_a = ADA[13:5] == ADB[13:5] ? mask_b : 36'h0;
	wire [35:0] seen_a = write_a && WRITEMODE_A == "WRITETHROUGH"
		? old_a & ~mask_a | data_a & mask_a : old_a ^ clash_a;
	DP16KD_PORT #(.WIDTH(DATA_WIDTH_A)) port_a (.address(ADA[4:0]), .write(write_a),
		.in({DIB, DIA}), .pair(seen_a), .mask(mask_a), .data(data_a), .word(read_a));
	wire show_a = CEA & (~WEA | WRITEMODE_A != "NORMAL");
	wire clk_a = CLKAMUX == "INV" ? ~CLKA : CLKA;
	always @(posedge clk_a)
		if (write_a) pairs[ADA[13:5]] <= old_a & ~mask_a & ~clash_a
			| data_a & mask_a | data_b & clash_a;
	reg [35:0] out_a = 36'h0;
	generate
		if (RESETMODE == "ASYNC") begin
			always @(posedge clk_a, posedge RSTA)
				if (RSTA) out_a <= 36'h0; else if (show_a) out_a <= read_a;
		end else begin
			always @(posedge clk_a)
				if (RSTA) out_a <= 36'h0; else if (show_a) out_a <= read_a;
		end
	endgenerate

	wire [35:0] mask_b, data_b, read_b;
	wire write_b = CEB & WEB & ~RSTB;
	wire [35:0] old_b = pairs[ADB[13:5]];
	wire [35:0] clash_b = ADB[13:5] == ADA[13:5] ? mask_a : 36'h0;
	wire [35:0] seen_b = write_b && WRITEMODE_B == "WRITETHROUGH"
		? old_b & ~mask_b | data_b & mask_b : old_b ^ clash_b;
	DP16KD_PORT #(.WIDTH(DATA_WIDTH_B)) port_b (.address(ADB[4:0]), .write(write_b),
		.in({DIA, DIB}), .pair(seen_b), .mask(mask_b), .data(data_b), .word(read_b));
	wire show_b = CEB & (~WEB | WRITEMODE_B != "NORMAL");
	wire clk_b = CLKBMUX == "INV" ? ~CLKB : CLKB;
	always @(posedge clk_b)
		if (write_b) pairs[ADB[13:5]] <= old_b & ~mask_b & ~clash_b
			| data_b & mask_b | data_a & clash_b;
	reg [35:0] out_b = 36'h0;
	generate
		if (RESETMODE == "ASYNC") begin
			always @(posedge clk_b, posedge RSTB)
				if (RSTB) out_b <= 36'h0; else if (show_b) out_b <= read_b;
		end else begin
			always @(posedge clk_b)
				if (RSTB) out_b <= 36'h0; else if (show_b) out_b <= read_b;
		end
	endgenerate

	// A 36-bit port B reads its lower half on port A's pins.
	assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
		DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
	assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
		DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];
endmodule

// One port: a word of WIDTH bits within a pair of 18-bit words.
module DP16KD_PORT (
	input [4:0] address,
	input write,
	input [35:0] in,
	input [35:0] pair,
	output [35:0] mask,
	output [35:0] data,
	output [35:0] word
);
	parameter WIDTH = 18;
	localparam [5:0] UNIT = WIDTH == 36 ? 32 : WIDTH == 18 ? 16 : WIDTH == 9 ? 8 : WIDTH;
	localparam [35:0] ONES = 36'hfffffffff >> (36 - WIDTH);

	// The wide ports have byte enables on the address bits that they do not need.
	wire [3:0] enable = WIDTH == 36 ? address[3:0] : WIDTH == 18 ? {2'b00, address[1:0]} : 4'hf;
	wire [35:0] enables = {{9{enable[3]}}, {9{enable[2]}}, {9{enable[1]}}, {9{enable[0]}}};
	wire [4:0] first = address & ~(UNIT[4:0] - 5'd1);
	wire [5:0] shift = 6'd18 * first[4] + 6'd9 * first[3] + {3'd0, first[2:0]};

	assign mask = write ? (ONES & enables) << shift : 36'h0;
	assign data = in << shift;
	assign word = pair >> shift & ONES;
endmodule
